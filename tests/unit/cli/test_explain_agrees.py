"""What is explained is what happens: `explain` and the gateway's own doors, asked the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from proxy.auth.key_verifier import KeyVerifier
from proxy.cli.explainer import Explainer
from proxy.cli.explanation import Asked
from proxy.gateway.front import FrontDoor
from proxy.handshake.client import LOCAL
from proxy.keys.ring import KeyRing
from tests.harness.heads import upgrade
from tests.unit.auth.asked import Trust
from tests.unit.build import config
from tests.unit.gateway.scene import SECRET, WEBSOCKET_KEY, Client, Gateway, key

if TYPE_CHECKING:
    from proxy.cli.explanation import Explanation

ROUTES = (
    {"name": "chat", "path": "/chat", "origins": ["https://a.example"]},
    {"name": "other", "path": "/other", "carriers": ["bearer", {"query": "k"}, "subprotocol"]},
    {"name": "watched", "path": "/watched", "auth": "report_only", "refuse_with": "close"},
    {"name": "open", "path": "/open", "auth": "none", "compression": "off"},
    {"name": "far", "path": "/far", "addresses": {"allow": ["192.0.2.0/24"]}},
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
STANDARD = ("Host", "Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key")


def explained(raw: bytes) -> Explanation:
    ring = KeyRing()
    ring.put("one", key())
    judge = Explainer(config(*ROUTES), ring, KeyVerifier(ring, Trust()), None, {})
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
    told = explained(raw)
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
