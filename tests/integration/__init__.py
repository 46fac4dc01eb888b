"""The gateway as a process, with real sockets on both sides."""
