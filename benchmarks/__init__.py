"""What the gateway costs, beside nginx, HAProxy, Envoy and the usual aiohttp message pump."""
