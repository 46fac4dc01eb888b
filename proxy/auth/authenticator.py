"""Who is calling? The one place where a request turns into a principal, or is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxy.auth.carriers import AMBIGUOUS
from proxy.auth.jwk import UnknownKey
from proxy.auth.question import NotAtOnce
from proxy.auth.stripping import Stripping
from proxy.errors import Refused
from proxy.keys.key import digest_of
from proxy.keys.principal import Principal, bearer_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.auth.jwt import Claims
    from proxy.auth.key_verifier import KeyVerifier
    from proxy.auth.presented import Found
    from proxy.auth.question import Question
    from proxy.auth.ways import Ways
    from proxy.relay.first_message_rule import FirstMessageRule

_TICKET_UNUSED = "A ticket opens a WebSocket alone, and was not used up; send a key instead."
_MISSING_HTTP = "Send your key with every request, in a way that WWW-Authenticate names."
_MISSING = "Send your key on this upgrade request, in the way WWW-Authenticate names."


class Tokens(Protocol):
    """Checks JWTs."""

    def is_ours(self, token: bytes) -> bool:
        """Whether a value is a token of our issuer, by its looks."""

    def verify_now(self, token: bytes) -> Claims:
        """Checks a token; raises `Refused`, or `UnknownKey` when `verify` may know more."""

    async def verify(self, token: bytes) -> Claims:
        """Checks a token; raises `Refused`."""


class Tickets(Protocol):
    """Takes tickets."""

    async def redeem(self, ticket: bytes, question: Question) -> Principal:
        """Uses a ticket up; raises `Refused`."""


class Plugins(Protocol):
    """Asks whoever the operator has plugged in."""

    async def ask(self, question: Question, credential: bytes | None) -> Principal | None:
        """The first answer of a plugin, None when none has one; raises `Refused`."""


class Authenticator:
    """Finds a request's credential and checks it.

    Args:
        ways: how each route may be entered, by its name. A route that is missing here admits
            nobody.
        keys: checks keys.
        tokens: checks JWTs; None where none are accepted.
        tickets: takes tickets.
        plugins: asked where nothing of the gateway's own stands behind a request; None for none.
    """

    def __init__(
        self,
        ways: Mapping[str, Ways],
        keys: KeyVerifier,
        *,
        tokens: Tokens | None = None,
        tickets: Tickets,
        plugins: Plugins | None = None,
    ) -> None:
        # Its revision grows when what was admitted may have to be judged anew.
        self.ring = keys.ring
        # What the first message must be, by route, where requests may come without a credential.
        self.first_messages = {
            route: way.first_message for route, way in ways.items() if way.first_message is not None
        }
        self._carriers = {route: way.carriers for route, way in ways.items()}
        self._keys = keys
        self._tokens = tokens
        self._tickets = tickets
        self._plugins = plugins
        # By route, and whether it is an ordinary request that is refused.
        self._challenges = {
            (route, ordinary): (("WWW-Authenticate", challenge),)
            for route, way in ways.items()
            for ordinary, challenge in ((False, way.challenge), (True, way.ordinary_challenge))
        }
        carriers = dict.fromkeys(carrier for way in ways.values() for carrier in way.carriers)
        # What keeps a route's credentials from its upstream, by its name.
        self.strippings = {
            route: Stripping(way.carriers, self.is_ours, pages=carriers)
            for route, way in ways.items()
        }

    def is_ours(self, value: bytes) -> bool:
        """Whether a value can be a credential of ours, and not the application's."""
        return self._keys.is_ours(value) or (
            self._tokens is not None and self._tokens.is_ours(value)
        )

    def awaits(self, question: Question) -> FirstMessageRule | None:
        """What the first message must be, if the request carries no credential and may.

        Raises:
            Refused: `key_ambiguous`.
        """
        rule = self.first_messages.get(question.route)
        return rule if rule is not None and self._found(question) is None else None

    # Verdicts ----------------------------------------------------------------------------------

    def authenticate(self, question: Question) -> Principal:
        """Checks the credential of a request, and that it opens the route to this caller.

        Raises:
            Refused: with any code of steps 5 and 6 that needs no counting.
            NotAtOnce: `authenticate_slowly` is to be asked.
        """
        found = None
        try:
            found = self._found(question)
            return self._verify(found, question)
        except Refused as refused:
            raise self._told(_showing(refused, found), question) from None

    async def authenticate_slowly(self, question: Question) -> Principal:
        """Checks what `authenticate` cannot check at once.

        Raises:
            Refused: as `authenticate` does, and `plugin_refused`.
        """
        try:
            return await self.verify_slowly(self._found(question), question)
        except Refused as refused:
            raise self._told(refused, question) from None

    def verify(self, found: Found | None, question: Question) -> Principal:
        """Checks one credential, wherever it was found, or that none is needed.

        Raises:
            Refused: without a challenge.
            NotAtOnce: `verify_slowly` is to be asked.
        """
        try:
            return self._verify(found, question)
        except Refused as refused:
            raise _showing(refused, found) from None

    def _verify(self, found: Found | None, question: Question) -> Principal:
        if found is None:
            if self._plugins is None:
                raise _missing(question)
            raise NotAtOnce
        credential, kind = found
        if kind == "ticket":
            if question.ordinary:
                raise Refused("ticket_invalid", _TICKET_UNUSED)
            raise NotAtOnce
        if self._tokens is not None and self._tokens.is_ours(credential):
            try:
                return _admitted(self._tokens.verify_now(credential), question)
            except UnknownKey:
                raise NotAtOnce from None
        if self._plugins is not None and not self._keys.knows(credential):
            raise NotAtOnce
        return self._keys.verify(credential, question)

    async def verify_slowly(self, found: Found | None, question: Question) -> Principal:
        """Checks one credential, or that none is needed, however long that takes.

        Raises:
            Refused: without a challenge.
        """
        try:
            return await self._verify_slowly(found, question)
        except Refused as refused:
            raise _showing(refused, found) from None

    async def _verify_slowly(self, found: Found | None, question: Question) -> Principal:
        credential = None if found is None else found.credential
        if found is not None and found.kind == "ticket":
            return await self._tickets.redeem(found.credential, question)
        if credential is not None and self._tokens is not None and self._tokens.is_ours(credential):
            return _admitted(await self._tokens.verify(credential), question)
        known = credential is not None and self._keys.knows(credential)
        if self._plugins is not None and not known:
            principal = await self._plugins.ask(question, credential)
            if principal is not None:
                return principal
        if credential is None:
            raise _missing(question)
        return self._keys.verify(credential, question)

    def check_again(self, principal: Principal, question: Question) -> None:
        """Checks that a principal is still admitted, right before its session begins.

        Raises:
            Refused: as `authenticate` does.
        """
        try:
            self._keys.check_again(principal, question)
        except Refused as refused:
            raise self._told(refused, question) from None

    def challenged(self, refused: Refused, route: str, *, ordinary: bool) -> Refused:
        """A refusal, with the ways into a route where it is for want of the right credential."""
        if refused.row.status == 401 and not refused.headers:
            refused.headers = self._challenges.get((route, ordinary), ())
        return refused

    def _told(self, refused: Refused, question: Question) -> Refused:
        return self.challenged(refused, question.route, ordinary=question.ordinary)

    def _found(self, question: Question) -> Found | None:
        """The one credential of a request; None when it carries none."""
        credential = None
        for carrier in self._carriers.get(question.route, ()):
            found = carrier.claim(question.presented, self.is_ours)
            if found is None:
                continue
            if credential is not None and credential != found:
                raise Refused("key_ambiguous", AMBIGUOUS)
            credential = found
        return credential


def _showing(refused: Refused, found: Found | None) -> Refused:
    """The refusal, with a mark of the credential that was not good enough."""
    if found is not None:
        refused.shown = digest_of(found.credential)
    return refused


def _missing(question: Question) -> Refused:
    return Refused("key_missing", _MISSING_HTTP if question.ordinary else _MISSING)


def _admitted(claims: Claims, question: Question) -> Principal:
    """The principal that a token stands for, if its scope holds the route."""
    if claims.routes is not None and question.route not in claims.routes:
        raise Refused("route_forbidden", "Your token is valid, but not for this route.")
    return bearer_of("jwt", claims.subject, claims.metadata, until=claims.expires_at)
