"""Training scripts that really run, to copy from."""
