"""The pages people look at, and what they are made of; read through `importlib.resources`."""
