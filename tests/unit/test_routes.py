"""Routes: which one serves a request, what it asks of the upstream, whom it lets in."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refused
from proxy.handshake.client import Client
from proxy.handshake.target import split_target
from proxy.routes import Route, RouteTable
from tests.unit.build import config, headers


def route(**fields: Any) -> Route:
    made = config(fields)
    return Route.of(made, made.routes[0])


def table(*routes: dict[str, Any]) -> RouteTable:
    return RouteTable.of(config(*routes))


def found(routes: RouteTable, path: bytes, host: str = "any.test") -> str | None:
    served = routes.find(host, path)
    return None if served is None else served.name


# Matching ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "serves"),
    [
        (b"/app", True),
        (b"/app/", True),
        (b"/app/room/1", True),
        (b"/application", False),
        (b"/app%", False),
        (b"/app;x", False),
        (b"/APP", False),
        (b"/%61pp", False),
        (b"/", False),
        (b"/ap", False),
        (b"/x/app", False),
    ],
)
def test_route_serves_its_path_and_what_lies_under_it(path: bytes, *, serves: bool) -> None:
    assert (found(table({"path": "/app"}), path) is not None) is serves


@pytest.mark.parametrize("path", [b"/", b"/x", b"/x/y/"])
def test_root_serves_everything(path: bytes) -> None:
    assert found(table({"path": "/"}), path) is not None


def test_longest_path_wins_whatever_the_order() -> None:
    routes = [
        {"name": "root", "path": "/"},
        {"name": "a", "path": "/a"},
        {"name": "ab", "path": "/a/b"},
    ]
    for order in (routes, routes[::-1]):
        made = table(*order)
        assert found(made, b"/a/b/c") == "ab"
        assert found(made, b"/a/bc") == "a"
        assert found(made, b"/b") == "root"


@pytest.mark.parametrize(
    "path",
    [
        b"/%61dmin",
        b"/%61dmin/x",
        b"/admi%6E/x",
        b"/admin;x",
        b"/admin;x/y",
        b"/admin;",
        b"/;x/admin",
        b"/;/;/admin;/y",
        b"/%61dmin;x",
        b"/admin%3Bx",
        b"/a%2Db",
        b"/caf%c3%a9",
        b"/deep/%61dmin",
    ],
)
def test_path_that_may_be_read_as_another_routes_is_refused(path: bytes) -> None:
    routes = table(
        {"name": "root", "path": "/", "auth": "none"},
        {"name": "admin", "path": "/admin"},
        {"name": "dashed", "path": "/a-b"},
        {"name": "cafe", "path": "/caf%C3%A9"},
        {"name": "deep", "path": "/deep"},
        {"name": "deeper", "path": "/deep/admin"},
    )
    with pytest.raises(Refused) as caught:
        routes.find("any.test", path)
    assert caught.value.code == "bad_path"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"/%78/y", "root"),
        (b"/x;y", "root"),
        (b"/admin%20", "root"),
        (b"/%2561dmin", "root"),
        (b"/admin/%61", "admin"),
        (b"/admin/x;y=1/z", "admin"),
        (b"/caf%C3%A9/a%20b", "cafe"),
        (b"/v;1/x", "versioned"),
    ],
)
def test_signs_that_lead_to_no_other_route_pass(path: bytes, name: str) -> None:
    routes = table(
        {"name": "root", "path": "/"},
        {"name": "admin", "path": "/admin"},
        {"name": "cafe", "path": "/caf%C3%A9"},
        {"name": "versioned", "path": "/v;1"},
        {"name": "elsewhere", "path": "/x", "host": "other.test"},
    )
    assert found(routes, path) == name


pieces = st.lists(st.sampled_from((b"/", b"a", b"%61", b"b", b"%62", b";", b"%3b", b"%20")))


@given(pieces.map(lambda some: b"/" + b"".join(some)))
def test_route_that_is_found_is_that_of_every_reading(path: bytes) -> None:
    routes = table(
        {"name": "root", "path": "/"},
        {"name": "a", "path": "/a"},
        {"name": "ab", "path": "/a/b"},
        {"name": "b", "path": "/b"},
    )
    try:
        path, _ = split_target(path)
        name = found(routes, path)
    except Refused:
        return
    decoded = unquote_to_bytes(path)
    bare = re.sub(rb"/+", b"/", re.sub(rb";[^/]*", b"", decoded))
    for reading in (decoded, bare):
        clear = reading.replace(b";", b"_")  # Nothing there to be read once more.
        assert found(routes, clear) == name


def test_other_readings_are_those_at_the_host_that_is_asked() -> None:
    routes = table(
        {"name": "root", "path": "/"}, {"name": "admin", "path": "/admin", "host": "a.test"}
    )
    assert found(routes, b"/%61dmin", "b.test") == "root"
    with pytest.raises(Refused):
        routes.find("a.test", b"/%61dmin")


def test_nothing_matches_where_there_is_no_route() -> None:
    assert found(table({"path": "/app"}), b"/other") is None
    assert found(table(), b"/") is None


def test_route_for_a_host_comes_before_one_for_any() -> None:
    made = table(
        {"name": "any", "path": "/a/b"},
        {"name": "wild", "path": "/a", "host": "*.test"},
        {"name": "wilder", "path": "/a", "host": "*.b.test"},
        {"name": "exact", "path": "/", "host": "a.b.test"},
    )
    assert found(made, b"/a/b", "a.b.test") == "exact"
    assert found(made, b"/a/b", "c.b.test") == "wilder"
    assert found(made, b"/a/b", "x.c.b.test") == "wilder"
    assert found(made, b"/a/b", "c.test") == "wild"
    assert found(made, b"/a/b", "test") == "any"
    assert found(made, b"/a/b", "other.example") == "any"
    assert found(made, b"/x", "c.b.test") is None


@pytest.mark.parametrize(
    "host", ["good.test.evil", "evilgood.test", "xa.good.test.", "agood.test", ".evil"]
)
def test_host_of_another_is_not_served(host: str) -> None:
    made = table({"host": "a.good.test"}, {"name": "w", "host": "*.a.good.test"})
    assert found(made, b"/chat", host) is None


def test_table_lists_its_routes() -> None:
    made = table({"name": "a", "path": "/a"}, {"name": "b", "path": "/b"})
    assert {each.name for each in made} == {"a", "b"}


# What the upstream is asked for --------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "upstream", "asked", "gets"),
    [
        # A target without a path gets the request's.
        ("/echo", "ws://h:1", "/echo?a=%2f", b"/echo?a=%2f"),
        ("/echo", "ws://h:1/", "/echo/x/", b"/echo/x/"),
        ("/", "ws://h:1", "/x?", b"/x?"),
        # One with a path has it in place of the route's, joined with exactly one slash.
        ("/chat", "ws://h:1/ws", "/chat", b"/ws"),
        ("/chat", "ws://h:1/ws", "/chat?a", b"/ws?a"),
        ("/chat", "ws://h:1/ws", "/chat/", b"/ws/"),
        ("/chat", "ws://h:1/ws", "/chat/room1?a=b", b"/ws/room1?a=b"),
        ("/chat", "ws://h:1/ws/", "/chat/room1", b"/ws/room1"),
        ("/chat", "ws://h:1/ws/", "/chat", b"/ws/"),
        ("/", "ws://h:1/ws", "/x/y", b"/ws/x/y"),
        ("/", "ws://h:1/ws", "/", b"/ws"),
        ("/chat", "ws+unix:/x.sock:/ws", "/chat/a%20b", b"/ws/a%20b"),
    ],
)
def test_target_is_put_together(path: str, upstream: str, asked: str, gets: bytes) -> None:
    made = route(path=path, upstream=upstream)
    assert made.upstream_target(*split_target(asked.encode())) == gets


segments = st.lists(st.sampled_from(("a", "b.c", "%20", "d;e=f", "~")), max_size=3)


@given(
    mount=segments,
    target=segments,
    rest=segments,
    slash=st.booleans(),
    query=st.sampled_from(("", "?", "?a=%2f//..&b")),
)
def test_what_is_asked_for_never_becomes_ambiguous(
    mount: list[str], target: list[str], rest: list[str], *, slash: bool, query: str
) -> None:
    path = "/" + "/".join(mount)
    made = route(path=path, upstream="ws://h:1/" + "/".join(target))
    asked = "/" + "/".join([*mount, *rest]) + ("/" if slash and (mount or rest) else "")
    path_sent, query_sent = split_target(made.upstream_target(asked.encode(), query.encode()))
    assert query_sent == query.encode()
    # Whatever was authorised under the route stays under the target.
    assert path_sent.startswith(b"/" + "/".join(target or mount).encode())
    assert (
        path_sent.endswith("/".join(rest).encode() + (b"/" if asked.endswith("/") else b""))
        or not rest
    )


# Whom it lets in -----------------------------------------------------------------------------


def client(address: str = "192.0.2.7", scheme: str = "http") -> Client:
    return Client.of(ip_address(address), ip_address("10.0.0.1"), trusted=True, scheme=scheme)


def refusal(made: Route, caller: Client, *lines: str) -> str | None:
    try:
        made.check_client(caller, headers("Host: app.test:8080", *lines))
    except Refused as refused:
        return refused.code
    return None


@pytest.mark.parametrize(
    ("addresses", "caller", "code"),
    [
        ({}, "192.0.2.7", None),
        ({"allow": ["192.0.2.0/24"]}, "192.0.2.7", None),
        ({"allow": ["192.0.2.0/24"]}, "192.0.3.7", "address_forbidden"),
        ({"allow": ["192.0.2.0/24"]}, "2001:db8::1", "address_forbidden"),
        ({"allow": []}, "192.0.2.7", "address_forbidden"),
        ({"deny": ["192.0.2.7/32"]}, "192.0.2.7", "address_forbidden"),
        ({"deny": ["192.0.2.7/32"]}, "192.0.2.8", None),
        ({"allow": ["192.0.2.0/24"], "deny": ["192.0.2.7"]}, "192.0.2.7", "address_forbidden"),
        ({"deny": ["2001:db8::/32"]}, "2001:db8::1", "address_forbidden"),
    ],
)
def test_addresses_are_of_the_client_not_of_its_proxy(
    addresses: dict[str, Any], caller: str, code: str | None
) -> None:
    assert refusal(route(addresses=addresses), client(caller)) == code


LISTED = ["https://good.example", "http://localhost:3000"]


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("https://good.example", None),
        ("HTTPS://Good.Example", None),
        ("http://localhost:3000", None),
        ("null", "origin_forbidden"),
        ("", "origin_forbidden"),
        ("https://good.example.evil", "origin_forbidden"),
        ("https://evilgood.example", "origin_forbidden"),
        ("http://good.example", "origin_forbidden"),
        ("https://good.example:8443", "origin_forbidden"),
        ("https://good.example:443", "origin_forbidden"),
        ("https://good.example@evil", "origin_forbidden"),
        ("https://good.example/", "origin_forbidden"),
        ("https://good.example, https://good.example", "origin_forbidden"),
        ("http://app.test:8080", "origin_forbidden"),
    ],
)
def test_listed_origins_alone_may_connect(origin: str, code: str | None) -> None:
    assert refusal(route(origins=LISTED), client(), f"Origin: {origin}") == code


def test_two_origins_are_none() -> None:
    lines = ["Origin: https://good.example"] * 2
    assert refusal(route(origins=LISTED), client(), *lines) == "origin_forbidden"
    assert refusal(route(), client(), *lines) is None


def test_null_origin_may_be_listed() -> None:
    assert refusal(route(origins=["null"]), client(), "Origin: null") is None


@pytest.mark.parametrize("origins", [None, "same", LISTED])
def test_client_that_is_no_browser_needs_no_origin(origins: Any) -> None:
    assert refusal(route(origins=origins), client()) is None


@pytest.mark.parametrize(
    ("origin", "scheme", "code"),
    [
        ("http://app.test:8080", "http", None),
        ("https://app.test:8080", "http", None),  # TLS may end in front of us, unsaid
        ("https://APP.test:8080", "https", None),
        ("http://app.test:8080", "https", "origin_forbidden"),
        ("http://app.test", "http", "origin_forbidden"),
        ("http://app.test:8081", "http", "origin_forbidden"),
        ("http://evil.test", "http", "origin_forbidden"),
        ("null", "http", "origin_forbidden"),
        ("http://app.test:8080.evil", "http", "origin_forbidden"),
    ],
)
def test_same_origin_is_that_of_the_host_asked_for(
    origin: str, scheme: str, code: str | None
) -> None:
    made = route(origins="same")
    assert refusal(made, client(scheme=scheme), f"Origin: {origin}") == code


def test_same_origin_without_a_host_is_none() -> None:
    with pytest.raises(Refused):
        route(origins="same").check_client(client(), headers("Origin: http://x"))


# What a configuration says -------------------------------------------------------------------


def test_route_is_what_its_configuration_says() -> None:
    made = config(
        {
            "name": "chat",
            "host": "Chat.Test",
            "compression": "off",
            "refuse_with": "auto",
            "origins": ["HTTPS://Good.Example:443"],
            "timeouts": {"close": "1s"},
        },
        timeouts={"close": "9s", "write": "7s"},
    )
    built = Route.of(made, made.routes[0])
    assert (built.name, built.host, built.path) == ("chat", "chat.test", b"/chat")
    assert built.origins == frozenset({b"https://good.example"})
    assert built.refuse_with == "auto"
    assert not built.compression
    assert (built.timeouts.close, built.timeouts.write) == (1.0, 7.0)
    assert built.upstream == "ws://127.0.0.1:9000/ws"
    assert built.settings is None
    assert built.preserve_host


def test_route_with_several_targets_rewrites_for_each() -> None:
    built = route(
        path="/chat",
        upstream={
            "targets": ["ws://a", "ws://b/x"],
            "balance": "key_hash",
            "headers": {"Origin": None},
            "preserve_host": False,
        },
    )
    first, second = built.targets
    assert built.target is first
    assert built.upstream == "ws://a, ws://b/x"
    assert built.upstream_target(b"/chat/1", b"?q") == b"/chat/1?q"
    assert built.upstream_target(b"/chat/1", b"?q", first) == b"/chat/1?q"
    assert built.upstream_target(b"/chat/1", b"?q", second) == b"/x/1?q"
    assert built.balance == "key_hash"
    assert built.settings is not None
    assert not built.preserve_host


def test_route_of_any_page_admits_every_origin() -> None:
    here = ip_address("192.0.2.7")
    client = Client.of(here, here, trusted=False, scheme="https")
    for origin in (b"https://a.test", b"null", b""):
        assert route().admits(origin, client, headers("Host: b.test"))


def test_route_is_found_by_its_name() -> None:
    routes = table({"name": "chat", "path": "/chat"}, {"name": "echo", "path": "/echo"})
    found = routes.get("echo")
    assert found is not None
    assert found.path == b"/echo"
    assert routes.get("other") is None


@pytest.mark.parametrize("auth", ["required", "report_only", "none"])
def test_route_asks_for_credentials_as_configured(auth: str) -> None:
    assert route(auth=auth).auth == auth
    assert route().auth == "required"


# Vanished hosts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "keepalive", "patience"),
    [
        ("30s", {"interval": "20s", "timeout": "20s"}, 40),
        ("60s", {"interval": "20s", "timeout": "20s"}, 60),
        (None, {"interval": "20s", "timeout": "20s"}, None),
        ("30s", None, None),
    ],
)
def test_kernel_is_never_less_patient_than_the_write_deadline(
    write: str | None, keepalive: dict[str, Any] | None, patience: float | None
) -> None:
    assert route(timeouts={"write": write}, keepalive=keepalive).user_timeout == patience
