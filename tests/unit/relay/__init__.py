"""The relay: frames, scanner, session."""
