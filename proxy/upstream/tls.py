"""TLS towards upstreams: what is verified, and what we show."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.config.upstream_fields import UpstreamTls


def client_context(settings: UpstreamTls) -> ssl.SSLContext:
    """The context for one route's `wss://` target.

    Raises:
        OSError: a file cannot be read or is no certificate (`ssl.SSLError` included).
    """
    context = ssl.create_default_context(cafile=None if settings.ca is None else str(settings.ca))
    context.set_alpn_protocols(["http/1.1"])
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.certificate is not None:
        context.load_cert_chain(settings.certificate, settings.private_key, "")
    return context


def unwatched(_route: str, settings: UpstreamTls) -> ssl.SSLContext:
    """The context for a route's targets, from its files as they are now."""
    return client_context(settings)
