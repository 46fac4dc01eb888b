"""A handshake under judgement: what is known of it so far."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxy.auth.presented import Presented
from proxy.errors import Refused
from proxy.handshake.request import check_handshake
from proxy.routes import NO_ROUTE

if TYPE_CHECKING:
    from collections.abc import Hashable

    from proxy.gateway.rules import Rules
    from proxy.gateway.tracer import RequestSpan
    from proxy.handshake.client import Client
    from proxy.handshake.head import RequestHead
    from proxy.keys.principal import Principal
    from proxy.routes import Route

# A name of dots alone means another place wherever it stands in a path.
_REQUEST_ID: Final = re.compile(rb"(?!\.+\Z)[A-Za-z0-9._:-]{1,128}")


@dataclass(slots=True)
class HandshakeRequest:
    """A request head and what the steps of `Admission` found out about it.

    Args:
        id: of the request, and of the session it may become.
        began: when its connection or its first byte came, on the loop's clock.
        head: as parsed.
        client: who sent it.
        rules: in force when it came; it is judged by no others until it is let in.
        certificate: the subject of the client's certificate (RFC 4514); None without one.
    """

    id: str
    began: float
    head: RequestHead
    client: Client
    rules: Rules
    certificate: str | None = None
    # Set by `Admission.judge`.
    path: bytes = b""
    query: bytes = b""
    route: Route | None = None
    # Whether it is an ordinary HTTP request, to be relayed as one.
    ordinary: bool = False
    # The target that was asked last, as text; set while it is dialled.
    upstream: str = ""
    origin: bytes | None = None
    # Set once it is known who is calling, with the authenticator's revision at that time.
    principal: Principal | None = None
    judged_at: int = -1
    # Who has a place taken for it; until a session takes them over, or `Admission.release`.
    holders: tuple[Hashable, ...] = ()
    # Set where requests are traced.
    span: RequestSpan | None = None

    @property
    def presented(self) -> Presented:
        """Where a credential may stand."""
        return Presented(self.head.headers, self.query)


def told_id(head: RequestHead) -> str | None:
    """The id that a proxy in front gave to its request; None where it can be no id of ours."""
    told = head.headers.one(b"x-request-id")
    return told.decode("ascii") if told is not None and _REQUEST_ID.fullmatch(told) else None


def hears_close(request: HandshakeRequest) -> bool:
    """Whether a client is to hear its refusal as a Close frame, as browsers must to hear it."""
    route = request.route
    if route is None or route.refuse_with == "http":
        return False
    if route.refuse_with == "auto" and b"origin" not in request.head.headers:
        return False
    try:
        check_handshake(request.head)
    except Refused:
        return False
    return True


def affinity_of(request: HandshakeRequest) -> bytes:
    """What equal choices of a target are made for, where the route balances by hash."""
    route, principal, address = request.route, request.principal, request.client.address
    if route is not None and route.balance == "key_hash" and principal is not None:
        caller = principal.key_id or principal.subject
        if caller is not None:
            return caller.encode()
    # Hosts choose the lower half of an IPv6 address at will.
    return address.packed if address.version == 4 else address.packed[:8]


def described(request: HandshakeRequest | None, client: str, id: str) -> dict[str, str]:
    """The fields that every log line about a request begins with.

    Args:
        client, id: stand in where no head was read.
    """
    if request is None:
        return {"request_id": id, "route": NO_ROUTE, "client": client}
    route, principal = request.route, request.principal
    fields = {"request_id": request.id, "route": NO_ROUTE if route is None else route.name}
    if principal is not None:
        if principal.key is not None:
            fields["key_id"] = principal.key.id
        if principal.subject is not None:
            fields["subject"] = principal.subject
    fields["client"] = request.client.text
    if principal is not None and route is not None:
        fields["upstream"] = request.upstream or route.upstream
    return fields
