"""OpenTelemetry spans of requests and sessions, where the environment asks for them."""
