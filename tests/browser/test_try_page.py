"""The demo's page in a real browser: every way in, and what a refused page sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.conftest import Demo, Tab

    OpenTab = Callable[..., Tab]

# What the page shows of each way in, until it is in.
WAYS = {
    "Subprotocol": ["open subprotocol wskeeper"],
    "Ticket": ["open"],
    "Ticket as subprotocol": ["open subprotocol wskeeper"],
    "First message": ["open", 'message {"type": "auth_ok"}'],
}

# What happens to a socket that a script of some page opens.
DIAL = """([url, protocols]) => new Promise((resolve) => {
    const seen = [];
    const socket = new WebSocket(url, protocols);
    socket.onopen = () => seen.push("open");
    socket.onmessage = ({ data }) => seen.push(data);
    socket.onerror = () => seen.push("error");
    socket.onclose = ({ code, reason }) => resolve([...seen, `close ${code} ${reason}`.trim()]);
})"""


@pytest.mark.parametrize("way", WAYS)
def test_browser_gets_in_speaks_and_leaves(open_tab: OpenTab, way: str) -> None:
    tab = open_tab()
    tab.choose(way)
    tab.press("Connect")
    assert tab.seen(WAYS[way][-1].split()[0]) == WAYS[way]
    tab.say("hello")
    tab.events().get_by_text("demo: hello").wait_for()
    tab.press("Disconnect")
    assert tab.seen("close") == [*WAYS[way], "message demo: hello", "close 1000 (no reason)"]
    assert tab.complaints == []


def test_two_tabs_hear_each_other(open_tab: OpenTab) -> None:
    one, other = open_tab(), open_tab()
    one.choose("Ticket")
    for tab in (one, other):
        tab.press("Connect")
        tab.seen("open")
    said = ["message demo: hello from one", "message demo: and <b>from</b> the other"]
    one.say("hello from one")
    expect(other.events()).to_have_text(["open subprotocol wskeeper", said[0]])
    other.say("and <b>from</b> the other")
    expect(one.events()).to_have_text(["open", *said])
    expect(other.events()).to_have_text(["open subprotocol wskeeper", *said])


def test_page_tells_of_its_latest_connection_alone(open_tab: OpenTab) -> None:
    tab = open_tab()
    tab.press("Connect")
    tab.seen("open")
    tab.choose("Ticket")
    tab.press("Connect")
    tab.press("Connect")  # Most likely before the ticket of the one before is there.
    tab.seen("open")
    tab.say("once")
    assert tab.seen("message") == ["open", "message demo: once"]


@pytest.mark.parametrize(
    ("way", "events"),
    [
        ("Subprotocol", ["open subprotocol wskeeper", "close 3000 key_unknown"]),
        ("First message", ["open", "close 1008 key_unknown"]),
    ],
)
def test_page_can_read_why_its_wrong_key_is_refused(
    open_tab: OpenTab, way: str, events: list[str]
) -> None:
    tab = open_tab()
    tab.choose(way)
    tab.press("Connect with a wrong key")
    assert tab.seen("close") == events
    assert tab.message.is_disabled()
    assert tab.complaints == []


def test_page_can_read_why_it_gets_no_ticket(open_tab: OpenTab) -> None:
    tab = open_tab()
    tab.choose("Ticket")
    tab.press("Connect with a wrong key")
    (event,) = tab.seen("error")
    assert event.startswith("error no ticket: 401 key_unknown.")


def test_refusal_shows_its_reason_by_close_and_none_over_http(
    open_tab: OpenTab, demo: Demo
) -> None:
    tab = open_tab()
    tab.press("Wrong key at /chat/room1")
    tab.press("Wrong key at /clock")
    assert tab.seen("close", "Events with refuse_with: auto") == [
        "open subprotocol wskeeper",
        "close 3000 key_unknown",
    ]
    assert tab.seen("close", "Events with refuse_with: http") == [
        "error (browsers say no more)",
        "close 1006 (no reason)",
    ]
    (complaint,) = tab.complaints
    assert demo.clock in complaint
    assert "HTTP Authentication failed" in complaint


def test_page_of_another_origin_is_refused_whatever_key_it_has(
    open_tab: OpenTab, demo: Demo, other_site: str
) -> None:
    page = open_tab(other_site).page
    by_key = page.evaluate(DIAL, [demo.chat, ["wskeeper", f"wskeeper.key.{demo.key}"]])
    assert by_key == ["open", "close 3003 origin_forbidden"]
    by_message = page.evaluate(DIAL, [demo.chat, []])
    assert by_message == ["open", "close 3003 origin_forbidden"]
    ticket = page.evaluate(
        """([url, key]) => fetch(url, { method: "POST", headers: { "X-Api-Key": key } }).then(
            (answer) => answer.status, (failure) => failure.name)""",
        [demo.chat.replace("ws:", "http:").replace("/chat/room1", "/.wskeeper/ticket"), demo.key],
    )
    assert ticket == "TypeError"


def test_ticket_in_the_query_opens_once(open_tab: OpenTab, demo: Demo) -> None:
    tab = open_tab()
    ticket = tab.page.evaluate(
        """async ([url, key]) => {
            const shop = new URL("/.wskeeper/ticket", url.replace("ws", "http"));
            const answer = await fetch(shop, { method: "POST", headers: { "X-Api-Key": key } });
            return (await answer.json()).ticket;
        }""",
        [demo.chat, demo.key],
    )
    url = f"{demo.chat}?wskeeper_ticket={ticket}"
    opened = tab.page.evaluate(
        """(url) => new Promise((resolve) => {
            const socket = new WebSocket(url);
            socket.onopen = () => socket.send("by ticket");
            socket.onmessage = ({ data }) => { socket.close(); resolve(data); };
            socket.onclose = ({ code, reason }) => resolve(`${code} ${reason}`);
        })""",
        url,
    )
    assert opened == "demo: by ticket"
    assert tab.page.evaluate(DIAL, [url, []]) == ["open", "close 3000 ticket_invalid"]
    assert tab.complaints == []


def test_key_comes_by_the_fragment_and_leaves_the_address_bar(
    open_tab: OpenTab, demo: Demo
) -> None:
    tab = open_tab()
    assert tab.page.url == demo.page
    assert tab.key.input_value() == demo.key
    assert tab.page.evaluate("history.length") == 2  # about:blank, and the page without the key


def test_key_may_be_pasted_with_its_white_space(open_tab: OpenTab, demo: Demo) -> None:
    tab = open_tab(demo.page)
    assert tab.page.get_by_role("button", name="Connect", exact=True).is_disabled()
    tab.key.fill(f" {demo.key} ")
    tab.press("Connect")
    assert tab.seen("open") == ["open subprotocol wskeeper"]


def test_shown_code_is_what_runs(open_tab: OpenTab, demo: Demo) -> None:
    tab = open_tab()
    for way, events in WAYS.items():
        tab.choose(way)
        shown = tab.page.get_by_label("The code that Connect runs").inner_text()
        sign = "onmessage" if len(events) == 2 else "onopen"
        opened = tab.page.evaluate(
            f"(async () => {{ {shown}\nawait new Promise((resolve, reject) => {{"
            f"socket.{sign} = resolve; socket.onclose = reject; }});"
            "return socket.url; })()"
        )
        assert opened.partition("?")[0] == demo.chat
    assert tab.complaints == []


def test_page_lets_no_other_script_host_or_frame_in(
    open_tab: OpenTab, demo: Demo, other_site: str
) -> None:
    tab = open_tab()
    assert tab.complaints == []
    requests: list[str] = []
    tab.page.on("request", lambda request: requests.append(request.url))
    tab.page.reload()
    assert {url.partition("/try")[0] for url in requests if not url.startswith("data:")} == {
        demo.page.removesuffix("/try")
    }
    blocked = tab.page.evaluate(
        """async (other) => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            const image = document.createElement("img");
            image.setAttribute("onerror", "window.ran = true");
            image.src = "data:,nothing";
            document.body.append(image);
            const answer = await fetch(other, { mode: "no-cors" }).catch((failure) => failure.name);
            return [window.ran, answer];
        }""",
        other_site,
    )
    assert blocked == [None, "TypeError"]
    assert all("Content Security Policy" in complaint for complaint in tab.complaints)


def test_page_fits_a_phone_in_light_and_dark(open_tab: OpenTab) -> None:
    page = open_tab().page
    page.set_viewport_size({"width": 320, "height": 640})
    for way in WAYS:
        page.get_by_role("radio", name=way, exact=True).check()
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 320, way
    grounds = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))))
    assert grounds[0] > 3 * 200
    assert grounds[1] < 3 * 50
