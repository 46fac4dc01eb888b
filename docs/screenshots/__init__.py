"""The pictures of the console in `docs/images`: `make screenshots`."""
