"""What is explained is what happens: `explain` and the gateway's own doors, asked the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.auth.key_verifier import KeyVerifier
from proxy.cli.explainer import Explainer
from proxy.cli.explanation import Asked
from proxy.gateway import front
from proxy.gateway.front import FrontDoor
from proxy.gateway.upstream_request import ordinary_request
from proxy.handshake.client import LOCAL
from proxy.keys.ring import KeyRing
from proxy.upstream.pool import Member
from tests.harness.heads import plain, upgrade
from tests.unit.auth.asked import Trust
from tests.unit.build import config
from tests.unit.gateway.scene import SECRET, WEBSOCKET_KEY, Client, Gateway, key

if TYPE_CHECKING:
    from proxy.cli.explanation import Explanation
    from proxy.gateway.request import HandshakeRequest

ROUTES = (
    {"name": "chat", "path": "/chat", "origins": ["https://a.example"]},
    {"name": "other", "path": "/other", "carriers": ["bearer", {"query": "k"}, "subprotocol"]},
    {"name": "watched", "path": "/watched", "auth": "report_only", "refuse_with": "close"},
    {"name": "open", "path": "/open", "auth": "none", "compression": "off"},
    {"name": "far", "path": "/far", "addresses": {"allow": ["192.0.2.0/24"]}},
)
PASSING = tuple(
    {"http": "passthrough", **route}
    for route in (
        {
            "name": "pages",
            "path": "/pages",
            "origins": ["https://a.example"],
            "carriers": [{"header": "X-Api-Key"}, {"query": "k"}, "subprotocol", "ticket"],
        },
        {"name": "said", "path": "/said", "carriers": ["bearer", "first_message"]},
        {"name": "seen", "path": "/seen", "auth": "report_only", "refuse_with": "close"},
        {
            "name": "free",
            "path": "/free",
            "auth": "none",
            "upstream": {
                "targets": ["ws://inner:9002/base"],
                "preserve_host": False,
                "headers": {"X-Set": "by {key.name}"},
            },
        },
        {"name": "near", "path": "/near", "addresses": {"deny": ["127.0.0.0/8"]}},
        {"name": "strict", "path": "/strict", "http": "refuse"},
    )
)
PATHS = ("/chat/x", "/other", f"/other?k={SECRET}&a=b", "/watched", "/open", "/far", "/no", "/a//b")
LINES = (
    "Origin: https://a.example",
    "Origin: https://b.example",
    f"X-Api-Key: {SECRET}",
    "X-Api-Key: wrong",
    f"Authorization: Bearer {SECRET}",
    "Authorization: Basic eDp5",
    f"Sec-WebSocket-Protocol: wskeeper.key.{SECRET}",
    "Sec-WebSocket-Protocol: wskeeper, mine",
    "Sec-WebSocket-Extensions: permessage-deflate",
    "X-Forwarded-For: 192.0.2.1",
    "Content-Length: 3",
    "not a header",
)
ORDINARY_PATHS = (
    *("/pages/x", f"/pages?k={SECRET}&a=b", "/pages?wskeeper_ticket=wst_x", "/said", "/seen"),
    *("/seen?wskeeper_ticket=wst_x", "/free/x?y=1", "/near", "/strict", "/no", "/a//b"),
)
ORDINARY_LINES = (
    *LINES,
    "Access-Control-Request-Method: PUT",
    "Expect: 100-continue",
    "Transfer-Encoding: chunked",
    "Cookie: a=b",
    "Upgrade: h2c",
    "Sec-Fetch-Mode: cors",
    "X-Latin: \xe9",
)
METHODS = ("GET", "HEAD", "POST", "OPTIONS", "OPTIONS", "PROPFIND", "TRACE", "CONNECT", "get")
STANDARD = ("Host", "Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key")


def explained(raw: bytes, *routes: dict[str, Any]) -> Explanation:
    ring = KeyRing()
    ring.put("one", key())
    judge = Explainer(config(*routes), ring, KeyVerifier(ring, Trust()), None, {})
    return judge.explain(Asked(raw, LOCAL, secure=False, now=1_700_000_000.0))


@given(
    path=st.sampled_from(PATHS),
    lines=st.lists(st.sampled_from(LINES), max_size=3),
    without=st.sets(st.sampled_from(STANDARD), max_size=1),
    method=st.sampled_from(["GET", "GET", "GET", "POST"]),
)
async def test_explain_and_the_front_door_agree(
    path: str, lines: list[str], without: set[str], method: str
) -> None:
    changed = {"Sec-WebSocket-Key": WEBSOCKET_KEY, **dict.fromkeys(without)}
    raw = upgrade(path, lines=tuple(lines), changed=changed, method=method)
    gateway = Gateway(*ROUTES)
    client = Client(FrontDoor(gateway.house))
    client.sends(raw)
    told = explained(raw, *ROUTES)
    if gateway.dialer.dials:
        assert told.verdict == "admitted"
        sent = gateway.dialer.dials[0].request.rstrip().split(b"\r\n")
        names = [line.partition(b":")[0].decode() for line in sent[1:]]
        assert [line.partition(":")[0] for line in told.upstream_head[1:]] == names
    elif told.close_code is not None:
        assert client.answer[0] == 101
        assert told.refused is not None
        assert told.refused.code.encode() in client.transport.written
    else:
        assert told.refused is not None
        assert client.answer == (told.refused.row.status, told.refused.code)


class _Passed:
    """Stands where ordinary requests are passed on; keeps them."""

    def __init__(self) -> None:
        self.requests: list[HandshakeRequest] = []

    def __call__(self, house: Any, request: HandshakeRequest, *sockets: Any) -> _Passed:
        del house, sockets
        self.requests.append(request)
        return self

    def begin(self, early: bytes) -> None:
        """What becomes of it is no matter here."""


@given(
    path=st.sampled_from(ORDINARY_PATHS),
    lines=st.lists(st.sampled_from(ORDINARY_LINES), max_size=3),
    method=st.sampled_from(METHODS),
)
@example("/pages/x", ["Access-Control-Request-Method: PUT", "Origin: https://a.example"], "OPTIONS")
@example("/pages/x", ["Access-Control-Request-Method: PUT", "Origin: https://b.example"], "OPTIONS")
@example(f"/pages?k={SECRET}&a=b", ["Transfer-Encoding: chunked"], "POST")
@example("/pages?wskeeper_ticket=wst_x", [], "GET")
@example("/said", [], "GET")
async def test_explain_and_the_front_door_agree_on_ordinary_requests(
    path: str, lines: list[str], method: str
) -> None:
    raw, passed = plain(path, *lines, method=method), _Passed()
    gateway = Gateway(*PASSING)
    client = Client(FrontDoor(gateway.house))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front, "Exchange", passed)
        client.sends(raw)
    told = explained(raw, *PASSING)
    if not passed.requests:
        assert told.refused is not None
        assert client.answer == (told.refused.row.status, told.refused.code)
        for name, value in told.refused.headers:
            assert client.response.get(name) == value
        return
    assert (told.verdict, told.ordinary, told.close_code) == ("admitted", True, None)
    [request] = passed.requests
    assert request.route is not None
    assert told.principal is not None
    assert request.principal is not None
    assert told.principal.headers == request.principal.headers
    member = Member(request.route.name, request.route.target, lambda *_: None)
    asking = ordinary_request(request, gateway.registry.occupancy, member)
    assert told.upstream_head[0].split(" ")[0] == asking.method.decode()
    assert (
        told.upstream_head[0].split("?")[0].split(" ")[1].encode()
        == (asking.target.partition(b"?")[0])
    )
    names = [line.partition(b":")[0].decode() for line in asking.lines]
    assert [line.partition(":")[0] for line in told.upstream_head[1:]] == names
