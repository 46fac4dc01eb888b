"""Limits as pure arithmetic: rates, failures, and what counts as one client."""
