"""The metrics by name: what docs/operations.md and `/metrics` show."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple


class Family(NamedTuple):
    """One metric.

    Args:
        name: as exposed; a counter's ends in `_total`.
        labels: of each of its series.
        text: what it means, in a sentence.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    text: str


HANDSHAKES: Final = Family(
    "wskeeper_handshakes_total",
    "counter",
    ("route", "outcome"),
    "Requests by how they ended: accepted, client_gone, or a refusal's code."
    " The route is none before one is known.",
)
WOULD_REFUSE: Final = Family(
    "wskeeper_would_refuse_total",
    "counter",
    ("route", "outcome"),
    "Requests that were let in on a route with auth: report_only,"
    " by the code that would have refused them.",
)
HANDSHAKE_DURATION: Final = Family(
    "wskeeper_handshake_duration_seconds",
    "histogram",
    ("route",),
    "From the connection to the 101, of accepted ones.",
)
UPSTREAM_CONNECT_DURATION: Final = Family(
    "wskeeper_upstream_connect_duration_seconds",
    "histogram",
    ("route",),
    "Name, TCP and TLS towards the service.",
)
HTTP_REQUESTS: Final = Family(
    "wskeeper_http_requests_total",
    "counter",
    ("route", "outcome"),
    "Ordinary requests of routes with http: passthrough, by how they ended:"
    " answered, client_gone, a refusal's code, or a close reason.",
)
CONNECTIONS: Final = Family(
    "wskeeper_connections", "gauge", ("route",), "Live sessions now, counted at the scrape."
)
CONNECTIONS_LIMIT: Final = Family(
    "wskeeper_connections_limit",
    "gauge",
    (),
    "The limit on their sum, after the open-file limit had its say; +Inf without one.",
)
CONNECTION_DURATION: Final = Family(
    "wskeeper_connection_duration_seconds",
    "histogram",
    ("route",),
    "How long ended sessions lived, 1 s to 24 h.",
)
CLOSES: Final = Family(
    "wskeeper_closes_total",
    "counter",
    ("route", "initiator", "code"),
    "Ended sessions, by who ended them (client, upstream, gateway) and the close code:"
    " 1000 to 1014 by number, 3xxx, 4xxx, none (no Close frame), other.",
)
FRAMES: Final = Family(
    "wskeeper_frames_total", "counter", ("route", "direction", "opcode"), "Frames relayed."
)
MESSAGES: Final = Family(
    "wskeeper_messages_total", "counter", ("route", "direction"), "Whole messages relayed."
)
BYTES: Final = Family(
    "wskeeper_bytes_total",
    "counter",
    ("route", "direction"),
    "Bytes relayed, frame headers included.",
)
MESSAGE_SIZE: Final = Family(
    "wskeeper_message_size_bytes",
    "histogram",
    ("route", "direction"),
    "Wire bytes of a message's payload, 64 B to 64 MiB.",
)
BACKPRESSURE: Final = Family(
    "wskeeper_backpressure_seconds_total",
    "counter",
    ("route", "direction"),
    "Time for which a sender was not read because its reader was slow.",
)
PING_RTT: Final = Family(
    "wskeeper_ping_rtt_seconds",
    "histogram",
    ("leg",),
    "From a ping of the gateway's own to its pong; the leg is client or upstream.",
)
LIMITED: Final = Family(
    "wskeeper_limited_total",
    "counter",
    ("route", "limit"),
    "How often a limit was met, by the limit's name in the configuration.",
)
UPSTREAM_UP: Final = Family(
    "wskeeper_upstream_up",
    "gauge",
    ("route", "target"),
    "1 while nothing speaks against a target.",
)
KEY_CONNECTIONS: Final = Family(
    "wskeeper_key_connections",
    "gauge",
    ("key",),
    "Live sessions of a key, by its name; with metrics.per_key alone.",
)
KEY_MESSAGES: Final = Family(
    "wskeeper_key_messages_total",
    "counter",
    ("key", "direction"),
    "Whole messages relayed for a key; with metrics.per_key alone.",
)
KEY_BYTES: Final = Family(
    "wskeeper_key_bytes_total",
    "counter",
    ("key", "direction"),
    "Bytes relayed for a key, frame headers included; with metrics.per_key alone.",
)
KEYS: Final = Family(
    "wskeeper_keys",
    "gauge",
    ("state",),
    "Keys of the store and the configuration: active, suspended, expired, revoked.",
)
KEYS_EXPIRING: Final = Family(
    "wskeeper_keys_expiring", "gauge", ("within",), "Active keys that end within 1d, 7d, 30d."
)
STORE_UP: Final = Family("wskeeper_store_up", "gauge", (), "1 while the store answers.")
DRAINING: Final = Family("wskeeper_draining", "gauge", (), "1 while the gateway is going away.")
RELOAD_SUCCESSFUL: Final = Family(
    "wskeeper_config_last_reload_successful",
    "gauge",
    (),
    "1 unless the configuration that was read last could not be taken.",
)
RELOAD_SUCCESS_TIME: Final = Family(
    "wskeeper_config_last_reload_success_timestamp_seconds",
    "gauge",
    (),
    "When the configuration in force was taken.",
)
EVENT_LOOP_LAG: Final = Family(
    "wskeeper_event_loop_lag_seconds",
    "gauge",
    (),
    "How late the event loop was when last looked at, once a second."
    " Above 0.1 the gateway is overloaded.",
)
CERTIFICATE_EXPIRY: Final = Family(
    "wskeeper_tls_certificate_expiry_timestamp_seconds",
    "gauge",
    ("listener",),
    "When the certificate of a listener (public, admin) ends.",
)
BUILD_INFO: Final = Family("wskeeper_build_info", "gauge", ("version", "python"), "Always 1.")
