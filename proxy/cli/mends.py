"""What to write into the proxies in front of a gateway, by what `wskeeper doctor` misses."""

from __future__ import annotations

from typing import Final

Mend = tuple[str, ...]

UPGRADE: Final[Mend] = (
    "nginx, in the location:",
    "    proxy_http_version 1.1;",
    "    proxy_set_header Upgrade $http_upgrade;",
    '    proxy_set_header Connection "upgrade";',
    "HAProxy: `mode http` passes upgrades on; Caddy: `reverse_proxy` does too",
    "a CDN or cloud balancer: switch WebSockets on; it must speak HTTP/1.1 to the gateway",
)
HOST: Final[Mend] = (
    "nginx: proxy_set_header Host $http_host;",
    "HAProxy, Caddy: remove `http-request set-header Host`, `header_up Host`",
)
SCHEME: Final[Mend] = (
    "nginx: proxy_set_header X-Forwarded-Proto $scheme;",
    "HAProxy: http-request set-header X-Forwarded-Proto https if { ssl_fc }",
    "gateway: list that proxy in `trusted_proxies`",
)
ADDRESS: Final[Mend] = (
    "gateway: list that proxy in `trusted_proxies`",
    "nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    "HAProxy: option forwardfor; Caddy: sets X-Forwarded-For by itself",
)
IDLE: Final[Mend] = (
    "nginx: proxy_read_timeout 1h; proxy_send_timeout 1h;",
    "HAProxy: timeout tunnel 1h",
    "AWS ALB: idle_timeout.timeout_seconds; others: their idle or backend timeout",
)
HTTP_2: Final[Mend] = (
    "let that hop speak HTTP/1.1 too (ALPN http/1.1): WebSockets are opened with it",
    "HAProxy: `bind … alpn h2,http/1.1`; Caddy: `protocols h1 h2`",
)
RENEW: Final[Mend] = ("renew the certificate; a wskeeper takes new files within 60 s",)
OFFER: Final[Mend] = (
    "pass Sec-WebSocket-Protocol on, both ways",
    'nginx: remove `proxy_set_header Sec-WebSocket-Protocol "";` and its `proxy_hide_header`',
)
KEY: Final[Mend] = (
    "pass it on; nginx drops headers with `_` in their name: underscores_in_headers on;",
    "a proxy with a login of its own takes Authorization for itself: use another carrier",
)
LISTEN: Final[Mend] = ("dial its `listen`, which is 127.0.0.1:8080 unless set",)
NO_KEY: Final[Mend] = ("give one with --key-file FILE, or in WSKEEPER_KEY",)
ORIGINS: Final[Mend] = ("gateway: list it in the route's `origins`",)

# Seconds after which well-known hops cut a silent connection.
CUTTERS: Final = {
    30: "Google Cloud's backend timeout is 30 s",
    50: "HAProxy's sample configurations say `timeout client 50s`",
    55: "Heroku's router cuts after 55 s",
    60: "60 s is the default of nginx's proxy_read_timeout, and of AWS ALB",
    100: "Cloudflare cuts after 100 s",
    230: "Azure App Service cuts after 230 s",
    240: "Azure's load balancer cuts after 4 minutes",
    350: "AWS NLB cuts after 350 s",
    600: "Google Cloud's connections are dropped after 10 minutes",
    3600: "one hour is a usual `timeout tunnel`",
}
