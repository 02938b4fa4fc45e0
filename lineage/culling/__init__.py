"""Culling: the files of organisms selected against go into a quarantine, back, or away for good."""
