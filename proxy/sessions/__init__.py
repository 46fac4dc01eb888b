"""Live sessions: their legs on the wire, their registry, the sweep over them."""
