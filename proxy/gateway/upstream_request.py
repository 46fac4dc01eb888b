"""What the upstream is asked: the client's request, as it goes on to a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.values import Target
from proxy.gateway.tracer import TRACE_HEADERS
from proxy.handshake.forward import upstream_head, upstream_lines
from proxy.keys.key import header_line
from proxy.upstream.http_call import Asking

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.auth.stripping import Stripping
    from proxy.gateway.request import HandshakeRequest
    from proxy.routes import Route
    from proxy.sessions.occupancy import Occupancy
    from proxy.upstream.pool import Member


def upstream_request(request: HandshakeRequest, occupancy: Occupancy, member: Member) -> bytes:
    """The head of a handshake for a target that is about to be asked.

    Args:
        request: of a caller that is let in.
        occupancy: where the target's place is taken, if its route counts them.
        member: of the route's targets, the one to ask.
    """
    route, target = request.route, member.target
    assert route is not None
    _note_target(request, route, occupancy, member)
    stripping = request.rules.authenticator.strippings[route.name]
    return upstream_head(
        request.head,
        route.upstream_target(request.path, stripping.query(request.query), target),
        client=request.client,
        credential_headers=_not_carried(request, stripping),
        cookie=stripping.cookie,
        referer=stripping.referer,
        compression=route.compression,
        ours=_our_lines(request, route),
        host=None if route.preserve_host else target.authority,
        settings=route.settings,
    )


def ordinary_request(request: HandshakeRequest, occupancy: Occupancy, member: Member) -> Asking:
    """An ordinary request, as `upstream_request` has a handshake."""
    route, target = request.route, member.target
    assert route is not None
    _note_target(request, route, occupancy, member)
    stripping = request.rules.authenticator.strippings[route.name]
    return Asking(
        request.head.method,
        route.upstream_target(request.path, stripping.query(request.query), target),
        upstream_lines(
            request.head,
            client=request.client,
            credential_headers=_not_carried(request, stripping),
            cookie=stripping.cookie,
            referer=stripping.referer,
            ours=_our_lines(request, route),
            host=None if route.preserve_host else target.authority,
            settings=route.settings,
        ),
    )


def _note_target(
    request: HandshakeRequest, route: Route, occupancy: Occupancy, member: Member
) -> None:
    """Remembers who is asked, and counts the request there in place of who was asked before."""
    request.upstream = member.text
    if request.span is not None:
        request.span.dials(member.text)
    if route.balance == "least_connections":
        # Its place is given back with the others, by the session or by `Admission.release`.
        before = [holder for holder in request.holders if isinstance(holder, Target)]
        occupancy.release(before)
        occupancy.take((member.target,))
        kept = (holder for holder in request.holders if not isinstance(holder, Target))
        request.holders = (*kept, member.target)


def _not_carried(request: HandshakeRequest, stripping: Stripping) -> Collection[bytes]:
    """Lower-case names of the client's headers that do not travel on."""
    carried_it = stripping.headers(request.head.headers)
    return carried_it if request.span is None else TRACE_HEADERS.union(carried_it)


def _our_lines(request: HandshakeRequest, route: Route) -> list[bytes]:
    """The header lines that tell the upstream what we know of a request that is let in."""
    principal = request.principal
    assert principal is not None
    lines = [b"X-Request-Id: " + request.id.encode(), route.header_line]
    if request.certificate is not None:
        lines.append(header_line("Client-Certificate", request.certificate))
    lines += principal.headers
    if request.span is not None:
        lines += request.span.header_lines
    return lines
