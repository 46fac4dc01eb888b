"""Carriers: how they are written, what they refuse, and what routes need because of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.config.model import Carrier, Config, FirstMessage

if TYPE_CHECKING:
    from tests.unit.config.conftest import ConfigFolder

UP = "upstream: 'ws://h'"
ECHO = f"routes: [{{name: echo, path: /echo, {UP}}}]\n"


def route(fields: str) -> str:
    return f"routes:\n- {{name: echo, path: /echo, {UP}, {fields}}}\n"


@pytest.mark.parametrize(
    ("written", "carrier"),
    [
        ("header: X-Key", Carrier(kind="header", header="X-Key")),
        ("bearer", Carrier(kind="bearer")),
        ("bearer:", Carrier(kind="bearer")),
        ("query: api_key", Carrier(kind="query", query="api_key")),
        ("cookie: __Host-key", Carrier(kind="cookie", cookie="__Host-key")),
        ("subprotocol", Carrier(kind="subprotocol")),
        ("ticket", Carrier(kind="ticket")),
        ("first_message", Carrier(kind="first_message", first_message=FirstMessage())),
        ("first_message:", Carrier(kind="first_message", first_message=FirstMessage())),
        (
            "first_message: {token: a.b, forward: true}",
            Carrier(kind="first_message", first_message=FirstMessage(token="a.b", forward=True)),
        ),
    ],
)
def test_a_carrier_is_a_word_or_names_its_place(
    folder: ConfigFolder, written: str, carrier: Carrier
) -> None:
    config = folder.load(
        route(f"origins: [], carriers: [{{{written}}}]")
        if ":" in written
        else route(f"origins: [], carriers: [{written}]")
    ).config
    assert config.carriers_of(config.routes[0]) == (carrier,)
    assert Config(carriers=(carrier,)).carriers == (carrier,)


def message(folder: ConfigFolder, written: str) -> FirstMessage:
    [carrier] = folder.load(f"{ECHO}carriers: [first_message: {written}]\n").config.carriers
    assert carrier.first_message is not None
    return carrier.first_message


def test_first_messages_have_defaults_and_fields(folder: ConfigFolder) -> None:
    assert message(folder, "{}").model_dump() == {
        "match": {"type": "auth"},
        "token": "token",
        "reply": {"type": "auth_ok"},
        "forward": False,
        "max_size": 16384,
    }
    assert message(
        folder, "{match: {a: {b: [1]}}, token: x-y.z, reply: null, max_size: 1MiB}"
    ).model_dump() == {
        "match": {"a": {"b": [1]}},
        "token": "x-y.z",
        "reply": None,
        "forward": False,
        "max_size": 1 << 20,
    }
    assert message(folder, "{match: null}").match == {}


def test_first_messages_of_graphql_have_a_name(folder: ConfigFolder) -> None:
    assert message(folder, "graphql-ws").model_dump() == {
        "match": {"type": "connection_init"},
        "token": "payload.apiKey",
        "reply": None,
        "forward": True,
        "max_size": 16384,
    }


@pytest.mark.parametrize(
    ("carriers", "place", "problem", "mend"),
    [
        ("[]", "", "is empty", "remove the line"),
        ("[bearer, bearer]", "[1]", "twice", "keep one"),
        ("[bearer, bearer: null]", "[1]", "twice", "keep one"),
        ("[header: A, header: a]", "[1]", "twice", "keep one"),
        ("[query: a, query: a]", "[1]", "twice", "keep one"),
        ("[cookie: a, cookie: a]", "[1]", "twice", "keep one"),
        ("[first_message, first_message: graphql-ws]", "[1]", "twice", "keep one"),
        ("[X-Api-Key]", "[0]", "is not a carrier", "- header:"),
        ("[heder: X]", "[0]", "is not a carrier", "`header`?"),
        ("[first-message]", "[0]", "is not a carrier", "`first_message`?"),
        ("[5]", "[0]", "is not a carrier", "- header:"),
        ("[{header: A, query: b}]", "[0]", "is not a carrier", "- header:"),
        ("[bearer: x]", "[0]", "takes no value", "write `- bearer`"),
        ("[ticket: x]", "[0]", "takes no value", "write `- ticket`"),
        ("[header]", "[0]", "names no place", "- header: X-Api-Key"),
        ("[query]", "[0]", "names no place", "- query: api_key"),
        ("[cookie: null]", "[0]", "names no place", "- cookie: api_key"),
        ("[header: 5]", "[0].header", "not text", "quotes"),
        ("[header: 'A B']", "[0].header", "is not a header name", "X-Api-Key"),
        ("[header: Host]", "[0].header", "meaning of its own", "X-Api-Key"),
        ("[header: Sec-WebSocket-Key]", "[0].header", "meaning of its own", "X-Api-Key"),
        ("[header: X-Forwarded-For]", "[0].header", "meaning of its own", "X-Api-Key"),
        ("[header: Cookie]", "[0].header", "holds more than a key", "- cookie: NAME"),
        (
            "[header: Sec-WebSocket-Protocol]",
            "[0].header",
            "holds more than a key",
            "- subprotocol",
        ),
        ("[query: 'a b']", "[0].query", "is not a parameter's name", "api_key"),
        ("[query: '']", "[0].query", "is not a parameter's name", "api_key"),
        ("[query: a%20b]", "[0].query", "is not a parameter's name", "api_key"),
        ("[query: wskeeper_ticket]", "[0].query", "is kept for tickets", "- ticket"),
        ("[cookie: a=b]", "[0].cookie", "is not a cookie's name", "letters"),
        ("[cookie: 'a;b']", "[0].cookie", "is not a cookie's name", "letters"),
        ("[first_message: graphql]", "[0]", "protocol that is not known", "graphql-ws"),
        ("[first_message: 5]", "[0].first_message", "is not a mapping", "fields"),
        ("[first_message: {tokn: a}]", "[0].first_message.tokn", "unknown", "`token`?"),
        ("[first_message: {token: a..b}]", "[0].first_message.token", "dotted path", "payload"),
        ("[first_message: {token: ''}]", "[0].first_message.token", "dotted path", "payload"),
        (
            "[first_message: {token: a.b.c.d.e.f.g.h.i}]",
            "[0].first_message.token",
            "dotted path",
            "8 names",
        ),
        (f"[first_message: {{token: {'a' * 257}}}]", "[0].first_message.token", "path", "8"),
        ("[first_message: {reply: .nan}]", "[0].first_message.reply", "not a mapping", "fields"),
        (
            "[first_message: {reply: {a: .nan}}]",
            "[0].first_message.reply",
            "JSON does not have",
            "text",
        ),
        (
            '[first_message: {match: {a: "\\ud800"}}]',
            "[0].first_message.match",
            "JSON does not have",
            "text",
        ),
        (
            "[first_message: {max_size: 2MiB}]",
            "[0].first_message.max_size",
            "out of range",
            "`1MiB`",
        ),
        (
            "[first_message: {forward: maybe}]",
            "[0].first_message.forward",
            "neither true nor false",
            "`true`",
        ),
    ],
)
def test_a_fault_names_its_place_and_its_mend(
    folder: ConfigFolder, carriers: str, place: str, problem: str, mend: str
) -> None:
    fault = folder.fault(route(f"origins: [], carriers: {carriers}"))
    assert (fault.line, fault.path) == (2, f"routes[0].carriers{place}")
    assert problem in fault.problem
    assert mend in fault.mend


def test_carriers_that_are_no_list_or_no_carriers_are_faults_once(folder: ConfigFolder) -> None:
    assert folder.fault(route("carriers: bearer")).problem == "is not a list"
    assert folder.fault(route("carriers: [{1: 2}]")).problem == "is not a carrier"
    assert folder.fault(route("carriers: [[bearer]]")).problem == "is not a carrier"


def test_parameters_and_cookies_differ_by_case_and_kind(folder: ConfigFolder) -> None:
    carriers = "[query: a, query: A, cookie: a, cookie: A, header: a]"
    assert len(folder.load(f"{ECHO}carriers: {carriers}\n").config.carriers) == 5


def test_a_header_of_another_scheme_is_warned_about(folder: ConfigFolder) -> None:
    [warning] = folder.load(route("carriers: [header: Authorization]")).warnings
    assert (warning.severity, warning.path) == ("warning", "routes[0].carriers[0]")
    assert "`Bearer`" in warning.problem


# Cookies, which browsers send along from any page ----------------------------------------------

COOKIE = "carriers: [cookie: k]"


def test_beside_a_cookie_pages_of_the_same_origin_are_the_default(folder: ConfigFolder) -> None:
    assert folder.load(route(COOKIE)).config.routes[0].origins == "same"
    assert folder.load(f"{ECHO}{COOKIE}\n").config.routes[0].origins == "same"
    bare = Config.model_validate(
        {
            "carriers": [{"cookie": "k"}],
            "routes": [{"name": "x", "path": "/x", "upstream": "ws://h"}],
        }
    )
    assert bare.routes[0].origins == "same"


def test_what_is_written_about_origins_stays(folder: ConfigFolder) -> None:
    text = route(f"{COOKIE}, origins: [https://a.example]")
    assert folder.load(text).config.routes[0].origins == ("https://a.example",)
    assert folder.load(text).warnings == ()
    assert folder.load(route(f"{COOKIE}, origins: same")).config.routes[0].origins == "same"


def test_routes_that_take_no_cookie_are_left_alone(folder: ConfigFolder) -> None:
    own = route("carriers: [bearer]") + f"{COOKIE}\n"
    assert folder.load(own).config.routes[0].origins is None
    unguarded = route("auth: none") + f"{COOKIE}\n"
    assert folder.load(unguarded).config.routes[0].origins is None


@pytest.mark.parametrize(
    "text", [route(f"{COOKIE}, origins: null"), f"{COOKIE}\n" + route("origins: null")]
)
def test_any_page_beside_a_cookie_is_a_fault(folder: ConfigFolder, text: str) -> None:
    fault = folder.fault(text)
    assert fault.path == "routes[0].origins"
    assert "any site" in fault.problem
    assert "`same`" in fault.mend


@pytest.mark.parametrize("entry", ["null", "'null'"])
def test_the_origin_null_beside_a_cookie_is_warned_about(folder: ConfigFolder, entry: str) -> None:
    [warning] = folder.load(route(f"{COOKIE}, origins: [https://a, {entry}]")).warnings
    assert warning.path == "routes[0].origins"
    assert "holds `null`" in warning.problem


# Keys and tickets in an address ----------------------------------------------------------------


@pytest.mark.parametrize("carrier", ["query: k", "ticket"])
def test_a_key_in_an_address_asks_for_a_word_about_origins(
    folder: ConfigFolder, carrier: str
) -> None:
    for text in (route(f"carriers: [bearer, {carrier}]"), f"{ECHO}carriers: [{carrier}]\n"):
        [warning] = folder.load(text).warnings
        assert warning.path == "routes[0].origins"
        assert warning.line is not None
        assert f"the carrier `{carrier.partition(':')[0]}`" in warning.problem
        assert "cross-site WebSocket hijacking" in warning.problem


@pytest.mark.parametrize("origins", ["same", "null", "[]", "[https://a]"])
def test_any_word_will_do(folder: ConfigFolder, origins: str) -> None:
    assert folder.load(route(f"carriers: [query: k], origins: {origins}")).warnings == ()


def test_nothing_is_asked_of_routes_without_such_a_key(folder: ConfigFolder) -> None:
    assert (
        folder.load(route("carriers: [bearer, subprotocol]") + "carriers: [ticket]\n").warnings
        == ()
    )


# Subprotocols ----------------------------------------------------------------------------------


def test_subprotocols_need_a_first_message(folder: ConfigFolder) -> None:
    for text in (
        route("subprotocols: [a]"),
        route("subprotocols: [a], carriers: [bearer]") + "carriers: [first_message]\n",
    ):
        fault = folder.fault(text)
        assert fault.path == "routes[0].subprotocols"
        assert "`first_message`" in fault.problem
    text = route("subprotocols: [a]") + "carriers: [first_message: graphql-ws]\n"
    assert folder.load(text).config.routes[0].subprotocols == ("a",)
    assert folder.load(route("subprotocols: []")).warnings == ()


@pytest.mark.parametrize(
    ("name", "problem"),
    [("'a b'", "not a subprotocol"), ("''", "not a subprotocol"), ("WsKeeper.key.x", "is kept")],
)
def test_a_subprotocol_is_a_token_of_the_service(
    folder: ConfigFolder, name: str, problem: str
) -> None:
    fault = folder.fault(route(f"carriers: [first_message], subprotocols: [ok, {name}]"))
    assert fault.path == "routes[0].subprotocols[1]"
    assert problem in fault.problem
