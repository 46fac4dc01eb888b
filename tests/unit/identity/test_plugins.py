"""The operator's own Python is asked, and is not trusted to answer well, or at all."""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refused
from proxy.handshake.reply import problem
from proxy.identity import plugins
from proxy.identity.plugins import CannotLoad, PluginDesk, load_plugin
from proxy.plugin import HandshakeRequest, Principal, Refusal
from tests.unit.auth.asked import question
from tests.unit.loop import in_virtual_time
from tests.unit.sessions.scene import Log

if TYPE_CHECKING:
    from pathlib import Path

CREDENTIAL = "CANARY-credential"


async def admits(request: HandshakeRequest, credential: str | None) -> Principal:
    return Principal("ada", {"route": request.route}, 2e9)


async def passes_on(request: HandshakeRequest, credential: str | None) -> None:
    return None


class PassingOn:
    async def __call__(self, *_: Any) -> None:
        return None


CALLABLE = PassingOn()


def not_async(request: HandshakeRequest, credential: str | None) -> None:
    return None


def answers(answer: Any) -> Any:
    async def plugin(request: HandshakeRequest, credential: str | None) -> Any:
        return answer

    return plugin


def desk(*plugins: Any) -> tuple[PluginDesk, Log]:
    log = Log()
    return PluginDesk([(f"p:{n}", plugin) for n, plugin in enumerate(plugins)], log), log


async def refusal(made: PluginDesk) -> Refused:
    with pytest.raises(Refused) as caught:
        await made.ask(question(), CREDENTIAL.encode())
    assert caught.value.code == "plugin_refused"
    assert len(problem(caught.value)) <= 1000
    return caught.value


# Loading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["admits", "CALLABLE"])
def test_plugin_is_found_by_its_name(name: str) -> None:
    assert load_plugin(f"{__name__}:{name}") is globals()[name]


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("no_such_module_of_anybody:x", "ModuleNotFoundError"),
        (f"{__name__}:nothing", "AttributeError"),
        (f"{__name__}:", "AttributeError"),
        (f"{__name__}", "AttributeError"),
        ("", "ValueError"),
        (f"{__name__}:not_async", "is not `async def`"),
        (f"{__name__}:PassingOn", "is not `async def`"),
        (f"{__name__}:CREDENTIAL", "is not `async def`"),
    ],
)
def test_plugin_that_cannot_be_used(name: str, cause: str) -> None:
    with pytest.raises(CannotLoad) as caught:
        load_plugin(name)
    assert str(caught.value).startswith(f"`plugins` names {name}, which ")
    assert cause in str(caught.value)


def test_plugin_that_exits_while_it_is_loaded_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugin_that_exits.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CannotLoad, match="SystemExit"):
        load_plugin("plugin_that_exits:x")


# Asking --------------------------------------------------------------------------------------


async def test_first_answer_stands() -> None:
    asked: list[str] = []

    def noting(name: str, answer: Any) -> Any:
        async def plugin(request: HandshakeRequest, credential: str | None) -> Any:
            asked.append(name)
            return answer

        return plugin

    made, _ = desk(noting("a", None), noting("b", Principal("ada")), noting("c", Refusal()))
    caller = await made.ask(question(), None)
    assert caller is not None
    assert (caller.auth, caller.subject, caller.key, caller.until) == ("plugin", "ada", None, None)
    assert asked == ["a", "b"]


async def test_none_of_all_is_none() -> None:
    made, log = desk(passes_on, CALLABLE)
    assert await made.ask(question(), b"x") is None
    assert await desk()[0].ask(question(), None) is None
    assert not log.lines


async def test_answer_becomes_a_principal() -> None:
    made, _ = desk(admits)
    caller = await made.ask(question(route="other"), None)
    assert caller is not None
    assert (caller.until, dict(caller.metadata)) == (2e9, {"route": "other"})
    assert b"X-Wskeeper-Subject: ada" in caller.headers
    assert b"X-Wskeeper-Meta-route: other" in caller.headers


async def test_request_is_shown_as_it_came() -> None:
    shown: list[tuple[HandshakeRequest, str | None]] = []

    async def plugin(request: HandshakeRequest, credential: str | None) -> None:
        shown.append((request, credential))

    made, _ = desk(plugin)
    lines = ("X-A: 1", "x-a: 2", b"X-B: \xff", "X-C: c")
    asked = question(*lines, query=b"?a=%20", origin=b"https://\xe9", path=b"/chat/%41")
    await made.ask(asked, b"\xffkey")
    await made.ask(question(), None)
    (request, credential), (bare, nothing) = shown
    assert (request.id, request.route, request.path) == ("an-id", "chat", "/chat/%41")
    assert (request.query, request.origin) == ("?a=%20", "https://é")
    assert request.client == "192.0.2.7"
    assert request.header("x-a") is None
    assert (request.header("x-b"), request.header("x-c")) == ("ÿ", "c")
    assert credential == "\udcffkey"
    assert (bare.origin, bare.query, nothing) == (None, "", None)
    assert "X-C" not in repr(request)


# Saying no -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        ("You are not on the list.", "You are not on the list."),
        ("", ""),
        ("x" * 500, "x" * 200),
        ("я" * 500, "я" * 50),
        ("\U0001f4a9" * 500, "\U0001f4a9" * 50),
        ("a\r\nb", plugins._REFUSED),
        ("\ud800", plugins._REFUSED),
    ],
)
async def test_refusal_is_told_in_the_plugin_s_words(detail: str, told: str) -> None:
    made, log = desk(answers(Refusal(detail)), admits)
    assert (await refusal(made)).detail == told
    assert not log.lines


@pytest.mark.parametrize(
    "answer",
    [
        True,
        False,
        "ada",
        b"ada",
        0,
        {},
        {"subject": "ada"},
        Principal,
        object(),
        Refusal(None),  # type: ignore[arg-type]
        Refusal(object()),  # type: ignore[arg-type]
        Principal(""),
        Principal(5),  # type: ignore[arg-type]
        Principal("x" * 257),
        Principal("a\r\nb"),
        Principal("\ud800"),
        Principal(metadata=None),  # type: ignore[arg-type]
        Principal(metadata=["a"]),  # type: ignore[arg-type]
        Principal(metadata={"a b": "c"}),
        Principal(metadata={"a\n": "c"}),
        Principal(metadata={5: "c"}),  # type: ignore[dict-item]
        Principal(metadata={"a": 5}),  # type: ignore[dict-item]
        Principal(metadata={"a": "\ud800"}),
        Principal(metadata={"a": "b", "A": "c"}),
        Principal(expires_at="tomorrow"),  # type: ignore[arg-type]
        Principal(expires_at=True),
        Principal(expires_at=math.nan),
        Principal(expires_at=math.inf),
        Principal(expires_at=10**400),
    ],
)
async def test_nonsense_lets_nobody_in(answer: Any) -> None:
    made, log = desk(answers(answer), admits)
    assert (await refusal(made)).detail == plugins._REFUSED
    (line,) = log.events("plugin_failed")
    assert (line["plugin"], line["request_id"]) == ("p:0", "an-id")
    assert line["cause"]


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError(CREDENTIAL),
        KeyError(CREDENTIAL),
        Refused("key_missing", CREDENTIAL),
        StopAsyncIteration(CREDENTIAL),
        SystemExit(CREDENTIAL),
        asyncio.CancelledError(CREDENTIAL),
    ],
)
async def test_failure_lets_nobody_in_and_quotes_nothing(failure: BaseException) -> None:
    async def plugin(request: HandshakeRequest, credential: str | None) -> Any:
        raise failure

    made, log = desk(plugin, admits)
    assert (await refusal(made)).detail == plugins._REFUSED
    ((level, _, line),) = log.lines
    assert level == "error"
    assert "test_plugins.py:" in line["at"]
    assert CREDENTIAL not in str(line)


def test_plugin_that_does_not_answer_is_given_up() -> None:
    ended: list[str] = []

    async def plugin(request: HandshakeRequest, credential: str | None) -> Any:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("given up")

    async def story() -> None:
        made, log = desk(plugin, admits)
        began = asyncio.get_running_loop().time()
        await refusal(made)
        assert asyncio.get_running_loop().time() - began == pytest.approx(plugins.DEADLINE)
        (line,) = log.events("plugin_failed")
        assert line["cause"] == "slow"

    in_virtual_time(story())
    assert ended == ["given up"]


async def test_whoever_leaves_is_asked_for_no_more() -> None:
    begun = asyncio.Event()

    async def plugin(request: HandshakeRequest, credential: str | None) -> Any:
        begun.set()
        await asyncio.sleep(3600)

    made, log = desk(plugin)
    asking = asyncio.ensure_future(made.ask(question(), None))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not log.lines


async def test_what_a_plugin_awaits_may_be_cancelled_and_lets_nobody_in() -> None:
    async def plugin(request: HandshakeRequest, credential: str | None) -> Any:
        lookup = asyncio.ensure_future(asyncio.sleep(3600))
        lookup.cancel()
        await lookup

    made, log = desk(plugin, admits)
    await refusal(made)
    (line,) = log.events("plugin_failed")
    assert line["cause"] == "CancelledError"


@pytest.mark.parametrize("failure", [None, RuntimeError()])
async def test_whoever_leaves_has_left_whatever_the_plugin_makes_of_it(
    failure: Exception | None,
) -> None:
    begun = asyncio.Event()

    async def plugin(request: HandshakeRequest, credential: str | None) -> Any:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        if failure is not None:
            raise failure
        return Principal("ada")

    made, log = desk(plugin)
    asking = asyncio.ensure_future(made.ask(question(), None))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not log.lines


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(subject=ANYTHING, metadata=ANYTHING, end=ANYTHING)
def test_any_answer_lets_in_what_can_be_sent_or_nobody(
    subject: Any, metadata: Any, end: Any
) -> None:
    made, log = desk(answers(Principal(subject, metadata, end)))
    caller = None
    with suppress(Refused):
        caller = asyncio.run(made.ask(question(), None))
    if caller is None:
        (line,) = log.events("plugin_failed")
        assert line["cause"].startswith("its ")
    else:
        assert all(line.isascii() and line.decode().isprintable() for line in caller.headers)
