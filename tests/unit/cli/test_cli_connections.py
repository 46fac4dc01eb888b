"""`wskeeper connections`, and how every command finds and asks an admin listener."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from proxy.cli.admin_client import NoAnswer
from proxy.config.model import Admin
from tests.unit.cli.admin_scene import Answering, UnixServer, admin, port
from tests.unit.cli.keys_scene import failed

if TYPE_CHECKING:
    from tests.unit.cli.keys_scene import Command

TOKEN = "a-token-of-some-length"
HERE = ("127.0.0.1", 0)
ONE = {
    "id": "s1",
    "route": "chat",
    "auth": "api_key",
    "key_id": "id1",
    "key_name": "alice",
    "subject": None,
    "client": "192.0.2.1",
    "upstream": "ws://chat-1:9002",
    "opened_at": "2023-11-14T22:13:20.000Z",
    "duration_s": 7500.2,
    "messages_from_client": 3,
    "messages_from_upstream": 40,
    "bytes_from_client": 512,
    "bytes_from_upstream": 1536,
}


def listed(*connections: Any, next: str | None = None) -> tuple[int, Any]:
    return 200, {"connections": connections, "next": next}


def problem(status: int, **members: Any) -> tuple[int, Any]:
    return status, {"type": "about:blank", "status": status, **members}


def at(server: Any, scheme: str = "http") -> tuple[str, str]:
    return "--admin", f"{scheme}://127.0.0.1:{port(server)}"


# list --------------------------------------------------------------------------------------------


def test_connections_are_a_table(wskeeper: Command) -> None:
    with admin(HERE, listed(ONE, {**ONE, "id": "s2", "subject": "\x1b[2Jjoe"})) as server:
        result = wskeeper("connections", "list", *at(server))
    assert result.exit_code == 0, result.stderr
    head, first, second = result.stdout.splitlines()
    assert head.split("  ")[0] == "ID"
    line = "s1 chat alice – 192.0.2.1 2h 05m 3 40 512 B 1.5 KiB"
    assert " ".join(first.split()) == line
    assert "�[2Jjoe" in second
    assert [asked.line for asked in server.asked] == ["GET /api/v1/connections"]
    assert server.asked[0].authorization is None


def test_connections_as_json(wskeeper: Command) -> None:
    with admin(HERE, listed(ONE)) as server:
        result = wskeeper("connections", "list", "--json", *at(server))
    assert json.loads(result.stdout) == {"connections": [ONE]}


def test_all_pages_are_asked_for(wskeeper: Command) -> None:
    pages = [listed(ONE, next="s1 &"), listed({**ONE, "id": "s2"})]
    with admin(HERE, *pages) as server:
        result = wskeeper("connections", "list", "--json", "--route", "chat", *at(server))
    assert [one["id"] for one in json.loads(result.stdout)["connections"]] == ["s1", "s2"]
    assert [asked.line for asked in server.asked] == [
        "GET /api/v1/connections?route=chat",
        "GET /api/v1/connections?route=chat&after=s1+%26",
    ]


def test_filters_travel_as_they_are(wskeeper: Command) -> None:
    with admin(HERE, listed()) as server:
        line = ["--route", "chat", "--key", "alice", "--subject", "a&b=ü"]
        result = wskeeper("connections", "list", *line, *at(server))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no live connections\n"
    target = "/api/v1/connections?route=chat&key=alice&subject=a%26b%3D%C3%BC"
    assert server.asked[0].line == f"GET {target}"


# close -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (["s1"], "/s1?"),
        (["a/b c"], "/a%2Fb%20c?"),
        (["--key", "alice"], "?key=alice&"),
        (["--subject", "joe"], "?subject=joe&"),
        (
            ["--route", "chat", "--code", "4000", "--reason", "a b"],
            "?route=chat&code=4000&reason=a+b",
        ),
    ],
)
def test_connections_are_closed(wskeeper: Command, arguments: list[str], target: str) -> None:
    with admin(HERE, (200, {"closed": 2})) as server:
        result = wskeeper("connections", "close", *arguments, *at(server))
    assert result.stdout == "closed 2 connections\n"
    assert server.asked[0].line == f"DELETE /api/v1/connections{target}".rstrip("?&")
    assert server.asked[0].content_type == "application/json"


def test_what_was_closed_as_json(wskeeper: Command) -> None:
    with admin(HERE, (200, {"closed": 1})) as server:
        assert wskeeper("connections", "close", "s1", *at(server)).stdout == "closed 1 connection\n"
        result = wskeeper("connections", "close", "s1", "--json", *at(server))
    assert json.loads(result.stdout) == {"closed": 1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "one of ID"),
        (["s1", "--key", "alice"], "one of ID"),
        (["--route", "chat", "--key", "alice"], "one of ID"),
        (["s1", "--code", "999"], "--code"),
        (["s1", "--code", "5000"], "--code"),
        (["s1", "--reason", "ü" * 62], "123 bytes"),
        (["wsk_secret"], "looks like a secret"),
        (["--key", "wsk_secret"], "looks like a secret"),
    ],
)
def test_one_thing_is_closed_in_one_way(
    wskeeper: Command, arguments: list[str], words: str
) -> None:
    result = wskeeper("connections", "close", *arguments, "--admin", "http://127.0.0.1:1")
    failed(result, words, code=2)
    assert "wsk_secret" not in result.output


# Names that nothing has --------------------------------------------------------------------------

NO_KEY = problem(404, code="no_such_key", title="There is no such key")
ROUTES = (200, {"routes": [{"name": "chat"}, {"name": "echo"}]})


@pytest.mark.parametrize(
    ("arguments", "answer", "words"),
    [
        (["--key", "a/lcie"], NO_KEY, "no key has the id or name that --key gives"),
        (["--route", "caht"], ROUTES, "--route gives; did you mean `chat`?"),
        (["--route", "nope"], ROUTES, "--route gives; there is `chat`, `echo`"),
        (["--key", "alice"], (200, {"name": "alice"}), None),
        (["--route", "echo"], ROUTES, None),
        # Of these nothing can be told.
        (["--key", "alice"], problem(403, code="role_forbidden"), None),
        (["--route", "nope"], problem(503), None),
        (["--key", "alice"], (200, b"hello"), None),
        (["--route", "nope"], (200, [1]), None),
    ],
)
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_name_that_nothing_has_is_noted(
    wskeeper: Command,
    arguments: list[str],
    answer: tuple[int, Any],
    words: str | None,
    *,
    as_json: Any,
) -> None:
    for command, empty in (("list", listed()), ("close", (200, {"closed": 0}))):
        with admin(HERE, empty, answer) as server:
            result = wskeeper("connections", command, *arguments, *as_json, *at(server))
        assert result.exit_code == 0
        assert ("note: " in result.stderr) == (words is not None)
        assert words is None or words in result.stderr
        assert arguments[1] not in result.stderr or words is None
        assert not as_json or json.loads(result.stdout) in ({"connections": []}, {"closed": 0})
        path = (
            "/routes" if arguments[0] == "--route" else f"/keys/{arguments[1].replace('/', '%2F')}"
        )
        assert server.asked[1].line == f"GET /api/v1{path}"


def test_names_are_not_asked_about_when_something_was_found(wskeeper: Command) -> None:
    with admin(HERE, listed(ONE)) as server:
        wskeeper("connections", "list", "--key", "alice", *at(server))
    with admin(HERE, (200, {"closed": 1})) as other:
        wskeeper("connections", "close", "--key", "alice", *at(other))
    assert (len(server.asked), len(other.asked)) == (1, 1)


def test_a_gateway_that_is_gone_by_then_is_no_error(
    wskeeper: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise NoAnswer

    monkeypatch.setattr("proxy.cli.connections.ask", gone)
    with admin(HERE, (200, {"closed": 0})) as server:
        result = wskeeper("connections", "close", "--key", "alice", *at(server))
    assert (result.exit_code, result.stdout) == (0, "closed 0 connections\n")


# What may go wrong -------------------------------------------------------------------------------


def listing(wskeeper: Command, server: Any, **environ: str) -> Any:
    return wskeeper("connections", "list", *at(server), **environ)


def test_a_problem_is_told_in_its_own_words(wskeeper: Command) -> None:
    told = problem(404, title="There is no such connection", detail="It has\nended.")
    with admin(HERE, told) as server:
        result = wskeeper("connections", "close", "s1", *at(server))
    failed(result)
    assert result.stderr == "Error: There is no such connection: It has ended.\n"
    with admin(HERE, problem(503)) as server:
        failed(listing(wskeeper, server), "the gateway answers 503")


def test_a_missing_token_is_asked_for(wskeeper: Command) -> None:
    with admin(HERE, problem(401)) as server:
        failed(listing(wskeeper, server), "wants a token", "WSKEEPER_ADMIN_TOKEN")


def test_a_wrong_token_is_named_by_its_place(wskeeper: Command) -> None:
    with admin(HERE, problem(401)) as server:
        result = listing(wskeeper, server, WSKEEPER_ADMIN_TOKEN=TOKEN)
        Path("token").write_text("other")
        from_file = listing(wskeeper, server, WSKEEPER_ADMIN_TOKEN_FILE="token")
    failed(
        result,
        "does not know the token from WSKEEPER_ADMIN_TOKEN: it is none of the gateway's",
        "`admin.tokens`",
        "put one of these there",
    )
    assert TOKEN not in result.output
    assert server.asked[0].authorization == f"Bearer {TOKEN}"
    failed(from_file, "the token from WSKEEPER_ADMIN_TOKEN_FILE: it is none")


def test_a_wrong_token_of_the_variable_is_not_laid_to_the_configuration(wskeeper: Command) -> None:
    with admin(HERE, problem(401)) as server:
        section = f"listen: '127.0.0.1:{port(server)}', token: of-the-file"
        Path("wskeeper.yaml").write_text(f"admin: {{{section}}}\n")
        line = ("connections", "list")
        failed(
            wskeeper(*line, WSKEEPER_ADMIN_TOKEN=TOKEN), "the token from WSKEEPER_ADMIN_TOKEN: it"
        )
        written = wskeeper(*line, "-c", "wskeeper.yaml", WSKEEPER_ADMIN_TOKEN="")
    failed(written, "the token from wskeeper.yaml: it", "set WSKEEPER_ADMIN_TOKEN to one of these")
    shown = [asked.authorization for asked in server.asked]
    assert shown == [f"Bearer {TOKEN}", "Bearer of-the-file"]


def test_nobody_there_is_told_with_where_it_was_asked(wskeeper: Command) -> None:
    with socket.socket() as unused:
        unused.bind(HERE)
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        failed(
            wskeeper("connections", "list", "--admin", url),
            f"no answer from {url} (--admin or WSKEEPER_ADMIN_URL)",
            "is the gateway running?",
        )
        listen = url.removeprefix("http://")
        Path("c.yaml").write_text(f"admin: {{listen: '{listen}'}}\n")
        failed(wskeeper("connections", "list", "-c", "c.yaml"), f"{url} (`admin.listen` of c.yaml)")
        failed(
            wskeeper("connections", "list", WSKEEPER_ADMIN_LISTEN=listen),
            f"{url} (`admin.listen` of the configuration)",
        )
    failed(wskeeper("connections", "list", "--admin", "unix:no.sock"), "unix:no.sock", "running?")


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (PermissionError(13, "Permission denied"), "this account may not open it"),
        (TimeoutError("timed out"), "does not answer in time"),
        (OSError("something"), "something"),
        (OSError(), "OSError"),
    ],
)
def test_why_nobody_answered_is_told(
    wskeeper: Command, monkeypatch: pytest.MonkeyPatch, failure: OSError, words: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr("socket.create_connection", fail)
    failed(wskeeper("connections", "list", "--admin", "http://h:1"), "no answer", words)


@pytest.mark.parametrize("answer", [(200, b"hello"), (404, b"<html>"), (200, [1]), (200, "{")])
def test_something_else_is_not_taken_for_a_gateway(
    wskeeper: Command, answer: tuple[int, Any]
) -> None:
    with admin(HERE, answer) as server:
        result = listing(wskeeper, server)
    failed(result, f"is no admin listener of a wskeeper: {answer[0]} by BaseHTTP/", "no JSON")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "no_route"),
        (426, "upgrade_required"),
        (401, "key_missing"),
        (405, "method_not_allowed"),
    ],
)
def test_the_listener_of_clients_is_not_taken_for_the_admins(
    wskeeper: Command, status: int, code: str
) -> None:
    usual = Admin.model_fields["listen"].default
    with admin(HERE, problem(status, code=code, title="No", detail="No.")) as server:
        named = listing(wskeeper, server)
        Path("c.yaml").write_text(f"admin: {{listen: '127.0.0.1:{port(server)}'}}\n")
        found = wskeeper("connections", "list", "-c", "c.yaml")
        health = wskeeper("healthcheck", *at(server))
    told = f"wskeeper's clients connect (`listen`), not its admin listener: it answers {status}"
    failed(named, told, f"`admin.listen`, which is {usual} unless set, with --admin")
    failed(
        found, told, "(`admin.listen` of c.yaml)", "does the gateway run with this configuration?"
    )
    failed(health, told)


def test_the_listener_of_metrics_is_not_taken_for_the_admins(wskeeper: Command) -> None:
    with admin(HERE, problem(404, code="no_such_path")) as server:
        failed(listing(wskeeper, server), "`metrics.listen`", "name its `admin.listen`")


def test_who_answers_cannot_move_the_cursor(
    wskeeper: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answering, "server_version", "evil\x9b2J")
    with admin(HERE, (404, b"no")) as server:
        result = listing(wskeeper, server)
    failed(result, "404 by evil")
    assert "\x9b" not in result.stderr


def test_a_name_without_a_server_header_is_left_out(
    wskeeper: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answering, "send_response", Answering.send_response_only)
    with admin(HERE, (404, b"no")) as server:
        failed(listing(wskeeper, server), "of a wskeeper: 404, and no JSON")


# The token ---------------------------------------------------------------------------------------


def test_the_configuration_knows_listener_and_token(wskeeper: Command) -> None:
    with admin(HERE, listed()) as server:
        section = f"listen: '127.0.0.1:{port(server)}', token: {TOKEN}"
        Path("c.yaml").write_text(f"admin: {{{section}}}\n")
        assert wskeeper("connections", "list", "-c", "c.yaml").exit_code == 0
    assert server.asked[0].authorization == f"Bearer {TOKEN}"


def test_the_token_of_a_configuration_is_not_shown_to_another_listener(wskeeper: Command) -> None:
    Path("wskeeper.yaml").write_text(f"admin: {{token: {TOKEN}}}\n")
    with admin(HERE, listed()) as server:
        assert listing(wskeeper, server).exit_code == 0
        assert listing(wskeeper, server, WSKEEPER_CONFIG="wskeeper.yaml").exit_code == 0
        assert wskeeper("connections", "list", "-c", "wskeeper.yaml", *at(server)).exit_code == 0
    shown = [asked.authorization for asked in server.asked]
    assert shown == [None, None, f"Bearer {TOKEN}"]


def test_a_token_may_come_from_a_file(wskeeper: Command) -> None:
    Path("token").write_text(f"{TOKEN}\n")
    with admin(HERE, listed()) as server:
        assert listing(wskeeper, server, WSKEEPER_ADMIN_TOKEN_FILE="token").exit_code == 0
    assert server.asked[0].authorization == f"Bearer {TOKEN}"
    result = listing(wskeeper, server, WSKEEPER_ADMIN_TOKEN_FILE="none")
    failed(result, "the token needs the file that `WSKEEPER_ADMIN_TOKEN_FILE` names")


@pytest.mark.parametrize("token", ["a\nb", "a\r\nX: y", " padded "])
def test_a_token_that_no_header_can_carry_is_not_repeated(wskeeper: Command, token: str) -> None:
    with admin(HERE, listed()) as server:
        result = listing(wskeeper, server, WSKEEPER_ADMIN_TOKEN=token)
    failed(result, "WSKEEPER_ADMIN_TOKEN")
    assert token not in result.output
    assert server.asked == []


def test_a_token_that_is_not_ascii_travels(wskeeper: Command) -> None:
    with admin(HERE, listed()) as server:
        assert listing(wskeeper, server, WSKEEPER_ADMIN_TOKEN="schlüssel").exit_code == 0


# Unix sockets and TLS ----------------------------------------------------------------------------


def test_a_unix_socket_is_asked(wskeeper: Command) -> None:
    with admin("admin.sock", listed(ONE), kind=UnixServer):
        result = wskeeper("connections", "list", "--json", "--admin", "unix:admin.sock")
    assert json.loads(result.stdout) == {"connections": [ONE]}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> ssl.SSLContext:
    """The listener's context; its files are pair.pem, other.pem and ca.pem."""
    leaf = authority.issue_cert("127.0.0.1")
    other = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    leaf.private_key_and_cert_chain_pem.write_to_path(tmp_path / "pair.pem")
    other.private_key_and_cert_chain_pem.write_to_path(tmp_path / "other.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


def test_a_certificate_is_checked(wskeeper: Command, tls: ssl.SSLContext) -> None:
    with admin(HERE, listed(), tls=tls) as server:
        line = ("connections", "list", *at(server, "https"))
        failed(wskeeper(*line), "certificate is not trusted", "--admin-ca FILE")
        assert wskeeper(*line, "--admin-ca", "ca.pem").exit_code == 0
        other_name = ("--admin", f"https://localhost:{port(server)}", "--admin-ca", "ca.pem")
        failed(wskeeper("connections", "list", *other_name), "not trusted", "localhost")
        failed(
            wskeeper("connections", "list", *at(server)),
            "no answer from http://",
            "write --admin https://",
        )
        assert wskeeper("healthcheck", *at(server, "https"), "--admin-ca", "ca.pem").exit_code == 0
    assert len(server.asked) == 2


def test_a_ca_file_without_a_certificate_is_told(wskeeper: Command, tls: ssl.SSLContext) -> None:
    Path("empty.pem").touch()
    with admin(HERE, listed(), tls=tls) as server:
        line = ("connections", "list", *at(server, "https"), "--admin-ca", "empty.pem")
        failed(wskeeper(*line), "no answer from https://")


def test_tls_towards_a_plain_listener_is_told(wskeeper: Command) -> None:
    with admin(HERE, listed()) as server:
        failed(wskeeper("connections", "list", *at(server, "https")), "does it speak https?")


def write_config(server: Any, certificate: str) -> None:
    section = f"listen: '127.0.0.1:{port(server)}', token: {TOKEN}"
    pair = f"{{certificate: {certificate}, private_key: pair.pem}}"
    Path("c.yaml").write_text(f"admin: {{{section}, tls: {pair}}}\n")


def test_the_certificate_of_the_configuration_is_trusted_and_no_other(
    wskeeper: Command, tls: ssl.SSLContext
) -> None:
    line = ("connections", "list", "-c", "c.yaml")
    with admin(HERE, listed(), tls=tls) as server:
        write_config(server, "pair.pem")
        assert wskeeper(*line).exit_code == 0
        assert wskeeper(*line, "--admin-ca", "ca.pem").exit_code == 0
        write_config(server, "other.pem")
        failed(wskeeper(*line), "not the one that `admin.tls.certificate` names")
        # The token was not shown to whoever that is.
        assert len(server.asked) == 2
        write_config(server, "missing.pem")
        failed(wskeeper(*line), "missing.pem, which cannot be read", "--admin-ca")
        Path("none.pem").write_text("hello")
        write_config(server, "none.pem")
        failed(wskeeper(*line), "none.pem, which holds no PEM certificate")
