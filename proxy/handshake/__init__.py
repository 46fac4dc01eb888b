"""The opening handshake as bytes and values: requests, answers, the upstream's leg."""
