"""The byte relay: frame headers, the scanner that reads them, the session that decides."""
