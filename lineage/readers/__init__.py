"""Readers of what lies beside and inside weights: each is a small function from the content of a
file to what that file says of the checkpoint. Data only: nothing is loaded, no length believed."""
