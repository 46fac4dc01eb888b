"""wskeeper: a gateway that puts API keys in front of WebSocket services."""
