"""The public attack catalogue as tests: raw sockets in front of and behind a running gateway."""
