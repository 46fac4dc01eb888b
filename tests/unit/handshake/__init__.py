"""The opening handshake as bytes and values."""
