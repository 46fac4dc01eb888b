"""What the upstream would be asked for an explained request, line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.handshake.forward import upstream_head, upstream_lines
from proxy.handshake.settings import folded

if TYPE_CHECKING:
    from proxy.auth.question import Question
    from proxy.auth.stripping import Stripping
    from proxy.cli.masking import Masking
    from proxy.handshake.client import Client
    from proxy.handshake.head import RequestHead
    from proxy.keys.principal import Principal
    from proxy.routes import Route


def upstream_request(
    head: RequestHead,
    question: Question,
    *,
    route: Route,
    client: Client,
    principal: Principal | None,
    stripping: Stripping,
) -> list[bytes]:
    """The request line and the header lines.

    Args:
        principal: None where only the gateway finds out who is calling.
        stripping: of the route.
    """
    ours = (
        b"X-Request-Id: (made for each request)",
        b"X-Wskeeper-Route: " + route.name.encode(),
        *(() if principal is None else principal.headers),
    )
    target = route.upstream_target(question.path, stripping.query(question.presented.query))
    credential_headers = stripping.headers(question.presented.headers)
    host = None if route.preserve_host else route.target.authority
    if question.ordinary:
        lines = upstream_lines(
            head,
            client=client,
            credential_headers=credential_headers,
            cookie=stripping.cookie,
            referer=stripping.referer,
            ours=ours,
            host=host,
            settings=route.settings,
        )
        return [head.method + b" " + target + b" HTTP/1.1", *lines]
    sent = upstream_head(
        head,
        target,
        client=client,
        credential_headers=credential_headers,
        cookie=stripping.cookie,
        referer=stripping.referer,
        compression=route.compression,
        ours=ours,
        host=host,
        settings=route.settings,
    )
    return sent.rstrip(b"\r\n").split(b"\r\n")


def shown(request: list[bytes], route: Route, masking: Masking) -> tuple[str, ...]:
    """The lines without a credential in them."""
    method, target, version = request[0].split(b" ")
    return (
        f"{method.decode()} {masking.target(target)} {version.decode()}",
        # What the configuration sets may be the upstream's own credential.
        *(
            _without_value(line) if _sets(route, line) else masking.line(line)
            for line in request[1:]
        ),
    )


def _sets(route: Route, line: bytes) -> bool:
    """Whether the configuration sets a header line."""
    settings = route.settings
    return settings is not None and folded(line.partition(b":")[0]) in settings.names


def _without_value(line: bytes) -> str:
    return f"{line.partition(b':')[0].decode('latin-1')}: ***"
