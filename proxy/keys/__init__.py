"""Keys, their digests and where they are kept."""
