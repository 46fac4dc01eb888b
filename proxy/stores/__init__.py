"""Where keys and their usage are kept."""
