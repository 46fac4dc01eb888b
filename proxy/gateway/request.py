"""A handshake under judgement: what is known of it so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.auth.presented import Presented
from proxy.handshake.client import text_of
from proxy.routes import NO_ROUTE

if TYPE_CHECKING:
    from collections.abc import Hashable

    from proxy.handshake.client import Client
    from proxy.handshake.head import RequestHead
    from proxy.keys.principal import Principal
    from proxy.routes import Route


@dataclass(slots=True)
class HandshakeRequest:
    """A request head and what the steps of `Admission` found out about it.

    Args:
        id: of the request, and of the session it may become.
        began: when its connection or its first byte came, on the loop's clock.
        head: as parsed.
        client: who sent it.
    """

    id: str
    began: float
    head: RequestHead
    client: Client
    # Set by `Admission.judge`.
    path: bytes = b""
    query: bytes = b""
    route: Route | None = None
    origin: bytes | None = None
    # Set once it is known who is calling, with the authenticator's revision at that time.
    principal: Principal | None = None
    judged_at: int = -1
    # Who has a place taken for it; until a session takes them over, or `Admission.release`.
    holders: tuple[Hashable, ...] = ()

    @property
    def presented(self) -> Presented:
        """Where a credential may stand."""
        return Presented(self.head.headers, self.query)


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
    fields["client"] = text_of(request.client.address)
    if principal is not None and route is not None:
        fields["upstream"] = route.upstream
    return fields
