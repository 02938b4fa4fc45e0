"""From training scripts into the registry: one recorder that never harms a run, and an adapter for
each framework. Each adapter is imported by its name, and its framework with it."""
