"""A long run of everything at once: what `make soak` does."""
