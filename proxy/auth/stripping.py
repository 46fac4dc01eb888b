"""What the upstream must not see: credentials, taken out of wherever they travelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.auth.browser_carriers import CookieCarrier, QueryCarrier, TicketCarrier
from proxy.auth.carriers import BearerCarrier, HeaderCarrier
from proxy.auth.presented import Presented
from proxy.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from proxy.auth.carriers import Carrier
    from proxy.handshake.head import Headers

_AUTHORIZATION = frozenset({b"authorization"})


class Stripping:
    """Takes the credentials of one route's carriers out of a request.

    Subprotocols are missing here: `handshake.forward` keeps every name of ours from every
    upstream.

    Args:
        carriers: of the route.
        is_ours: whether a value can be a credential of ours.
        pages: the carriers by which pages are asked for that may lead here: those of all routes.
    """

    def __init__(
        self,
        carriers: Sequence[Carrier],
        is_ours: Callable[[bytes], bool],
        *,
        pages: Iterable[Carrier] = (),
    ) -> None:
        self._is_ours = is_ours
        # A header carrier's line never travels, with or without a credential in it.
        self._always = frozenset(
            carrier.header.replace(b"_", b"-")
            for carrier in carriers
            if isinstance(carrier, HeaderCarrier)
        )
        self._bearer = next((each for each in carriers if isinstance(each, BearerCarrier)), None)
        self._queries = _queries(carriers)
        self._pages = _queries(dict.fromkeys((*carriers, *pages)))
        self._cookies = [each for each in carriers if isinstance(each, CookieCarrier)]
        # What takes credentials out of the value of a Cookie line, and out of a Referer, the URL
        # of a page, which browsers send whole to where it came from; None when none travel there.
        self.cookie = self._without_cookies if self._cookies else None
        self.referer = self._without_queries if self._pages else None

    def headers(self, headers: Headers) -> frozenset[bytes]:
        """Names (lower case, `_` read as `-`) of a request's headers that do not travel at all."""
        if self._bearer is None:
            return self._always
        try:
            carries = self._bearer.claim(Presented(headers, b""), self._is_ours) is not None
        except Refused:  # More than one.
            carries = True
        return self._always | _AUTHORIZATION if carries else self._always

    def query(self, query: bytes) -> bytes:
        """A query string, with its `?`, without credentials."""
        for carrier in self._queries:
            query = carrier.strip_query(query, self._is_ours)
        return query

    def _without_queries(self, value: bytes) -> bytes:
        page, mark, rest = value.partition(b"?")
        query = mark + rest
        for carrier in self._pages:
            query = carrier.strip_query(query, self._is_ours)
        return page + query

    def _without_cookies(self, value: bytes) -> bytes | None:
        rest: bytes | None = value
        for carrier in self._cookies:
            if rest is not None:
                rest = carrier.strip_cookie(rest, self._is_ours)
        return rest


def _queries(carriers: Iterable[Carrier]) -> list[QueryCarrier | TicketCarrier]:
    return [each for each in carriers if isinstance(each, QueryCarrier | TicketCarrier)]
