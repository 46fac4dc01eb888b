"""The demo's page at `/try`: how a browser gets through the gateway, and what it sees if not."""
