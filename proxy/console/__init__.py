"""The web console: pages over what the admin API knows."""
