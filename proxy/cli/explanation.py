"""What is asked of `explain`, and what it found out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from proxy.errors import Refused
    from proxy.handshake.client import Address, Client
    from proxy.identity.verifier import JwtVerifier
    from proxy.keys.key import Key
    from proxy.keys.principal import Principal
    from proxy.routes import Route

Verdict = Literal["admitted", "depends", "refused", "answered"]


class Tokens(NamedTuple):
    """How tokens are judged here.

    Args:
        verifier: with the keys that are at hand.
        by: where the keys come from, in the configuration's words.
        checks: whether it checks signatures; they need keys, and those may be on the network.
        failure: why the keys could not be read; None when they were.
    """

    verifier: JwtVerifier
    by: str
    checks: bool
    failure: str | None = None


class Asked(NamedTuple):
    """One request.

    Args:
        raw: its head as it would come.
        peer: the address of the socket.
        secure: whether the gateway itself speaks TLS on it.
        now: seconds since the epoch.
    """

    raw: bytes
    peer: Address
    secure: bool
    now: float


@dataclass(slots=True)
class Explanation:
    """What was found out; what comes behind a refusal is not set."""

    # (name, outcome), in order.
    steps: list[tuple[str, str]] = field(default_factory=list)
    # What must come true besides, for it to be admitted.
    conditions: list[str] = field(default_factory=list)
    route: Route | None = None
    client: Client | None = None
    # Whether it is no handshake but an ordinary HTTP request, which its route passes on.
    ordinary: bool = False
    # How the gateway answers a request itself that asks for no upgrade.
    answered: str | None = None
    # Those that found a credential.
    carriers: tuple[str, ...] = ()
    key: Key | None = None
    principal: Principal | None = None
    refused: Refused | None = None
    # With which the refusal is said after a 101; None when it is an HTTP status.
    close_code: int | None = None
    # What the upstream would be asked, line by line.
    upstream_url: str | None = None
    upstream_head: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        if self.refused is not None:
            return "refused"
        if self.answered is not None:
            return "answered"
        return "depends" if self.conditions else "admitted"

    def note(self, step: str, outcome: str) -> None:
        """Keeps the outcome of a step."""
        self.steps.append((step, outcome))
