"""The way to the upstream: names, sockets, TLS, its answer to the handshake."""
