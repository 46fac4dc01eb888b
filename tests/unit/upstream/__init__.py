"""The upstream's leg."""
