"""`wskeeper explain`: carriers, tokens, tickets, plugins, and no credential in what it says."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.auth.tokens import CLAIMS, SECRET, jwk, jwks, token
from tests.unit.cli.test_explain import steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    from tests.unit.cli.keys_scene import Command

KEY = "CANARY-key-2f9e1c7b5d3a"
MISTYPED = "wsk_CANARYabcd_CANARYwhichisnokey"
TICKET = "wst_CANARYticket"
EVERY = "{header: X-Api-Key}, bearer, {query: api_key}, {cookie: sid}, subprotocol, ticket"
IDP = '{issuer: "https://idp.test", audience: wskeeper, algorithms: [RS256]'


def config(carriers: str = EVERY, more: str = "") -> str:
    return f"""\
carriers: [{carriers}]
keys: [{{name: legacy, secret: {KEY}}}]
{more}
routes:
  - {{name: chat, path: /chat, upstream: "ws://127.0.0.1:1"}}
  - {{name: seen, path: /seen, upstream: "ws://127.0.0.1:1", auth: report_only}}
"""


@pytest.fixture
def explain(wskeeper: Command) -> Callable[..., Result]:
    """Runs the command on a configuration, with header lines."""

    def run(written: str, path: str, *lines: str) -> Result:
        Path("wskeeper.yaml").write_text(written)
        headers = [option for line in lines for option in ("--header", line)]
        return wskeeper("explain", "--path", path, *headers)

    return run


def carried(secret: str) -> dict[str, tuple[str, ...]]:
    """A path and header lines, by the carrier that finds `secret` there."""
    return {
        "header X-Api-Key": ("/chat", f"X-Api-Key: {secret}"),
        "bearer": ("/chat", f"Authorization: Bearer {secret}"),
        "query api_key": (f"/chat?api_key={secret}&room=1",),
        "cookie sid": ("/chat", f"Cookie: theme=dark; sid={secret}"),
        "subprotocol": ("/chat", f"Sec-WebSocket-Protocol: wskeeper, wskeeper.key.{secret}"),
    }


# Carriers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("carrier", carried(KEY))
def test_every_carrier_is_named_and_its_key_found(explain: Command, carrier: str) -> None:
    result = explain(config(), *carried(KEY)[carrier])
    assert result.exit_code == 0
    assert steps(result)["carrier"] == carrier
    assert steps(result)["key"].startswith("legacy (legacy), active")


@pytest.mark.parametrize("carrier", carried(KEY))
def test_a_credential_in_a_place_that_is_not_read_is_pointed_out(
    explain: Command, carrier: str
) -> None:
    result = explain(config("{header: X-Other}"), *carried(KEY)[carrier])
    told = steps(result)["carrier"]
    assert told.startswith("none found; the route takes header X-Other; what stands in ")
    assert carrier in told
    assert KEY not in result.output


def test_without_any_credential_nothing_is_pointed_out(explain: Command) -> None:
    result = explain(config("bearer, first_message"), "/seen", "Cookie: a=b; c")
    assert steps(result)["carrier"] == "none found; the route takes bearer, first_message"


def test_two_carriers_with_different_keys_are_both_named(explain: Command) -> None:
    result = explain(config(), "/chat", f"X-Api-Key: {KEY}", f"Authorization: Bearer {MISTYPED}")
    assert steps(result)["carrier"] == "header X-Api-Key and bearer"
    assert steps(result)["verdict"].startswith("400 key_ambiguous")


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("guess", "not known"),
        (f'"{KEY}"', "not known; without the quotes or the word around it, it would be"),
        (f"Bearer {KEY}", "not known; without the quotes or the word around it, it would be"),
        (MISTYPED, "not known: it begins like one of ours and cannot be one; mistyped, or cut off"),
    ],
)
def test_an_unknown_key_gets_a_hint(explain: Command, sent: str, told: str) -> None:
    assert steps(explain(config(), "/chat", f"X-Api-Key: {sent}"))["key"] == told


def test_a_subprotocol_with_a_key_needs_ours_beside_it(explain: Command) -> None:
    result = explain(config(), "/chat", f"Sec-WebSocket-Protocol: wskeeper.key.{KEY}")
    assert steps(result)["verdict"].startswith("400 bad_request: Offer the subprotocol")


# Tickets, first messages, plugins --------------------------------------------------------------


@pytest.mark.parametrize(
    "request_", [(f"/chat?wskeeper_ticket={TICKET}",), ("/seen?wskeeper_ticket=" + TICKET,)]
)
def test_a_ticket_is_the_gateways_to_judge(explain: Command, request_: tuple[str, ...]) -> None:
    result = explain(config(), *request_)
    assert result.exit_code == 0
    assert "only the gateway can judge it" in steps(result)["ticket"]
    assert steps(result)["verdict"] == "101, if the ticket is good, and the upstream answers"


def test_a_first_message_is_described(explain: Command) -> None:
    written = config("first_message") + "    subprotocols: [graphql-transport-ws]\n"
    written = written.replace("auth: report_only}\n    sub", "auth: required,\n    sub")
    written = written.rstrip() + "}\n"
    line = "Sec-WebSocket-Protocol: wskeeper, graphql-transport-ws, other"
    told = steps(explain(written, "/seen", line, "Sec-WebSocket-Extensions: x"))
    assert told["carrier"] == (
        "first_message: 101 at once, then 5 s for a JSON object of at most 16384 bytes with the"
        " credential at token"
    )
    assert told["verdict"] == (
        "101, if a good first message comes in time, and the upstream answers"
    )
    assert "Sec-WebSocket-Protocol: graphql-transport-ws" in told["upstream"].splitlines()
    assert "Extensions" not in told["upstream"]


def test_a_request_with_a_key_awaits_no_first_message(explain: Command) -> None:
    result = explain(config("bearer, first_message"), "/chat", f"Authorization: Bearer {KEY}")
    assert steps(result)["carrier"] == "bearer"


@pytest.mark.parametrize("lines", [(), ("X-Api-Key: guess",)], ids=["nothing", "unknown"])
def test_plugins_are_named_and_not_called(explain: Command, lines: tuple[str, ...]) -> None:
    written = config(more='plugins: ["package_that_is_not_here:ask"]')
    result = explain(written, "/chat", *lines)
    assert result.exit_code == 0
    assert steps(result)["plugins"] == (
        "package_that_is_not_here:ask would be asked who this is; none is called here"
    )
    assert "if a plugin knows who this is, and" in steps(result)["verdict"]


def test_plugins_are_not_asked_about_a_known_key(explain: Command) -> None:
    written = config(more='plugins: ["package_that_is_not_here:ask"]')
    assert "plugins" not in steps(explain(written, "/chat", f"X-Api-Key: {KEY}"))


# Tokens ----------------------------------------------------------------------------------------


def fresh(algorithm: str = "RS256", **changes: Any) -> str:
    claims = {**CLAIMS, "exp": int(time.time()) + 600, **changes}
    return token(algorithm, **claims).decode()


def asking(made: str) -> tuple[str, str]:
    return "/chat", f"Authorization: Bearer {made}"


def test_keys_on_the_network_are_not_fetched(explain: Command) -> None:
    told = steps(explain(config(more=f"jwt: {IDP}}}"), *asking(fresh())))
    assert told["token"] == ("subject ada; the signature is not checked: no network (jwt.issuer)")
    assert told["verdict"] == ("101, if the token's signature is good, and the upstream answers")
    by_url = f'jwt: {IDP}, jwks_url: "https://idp.test/jwks"}}'
    assert "(jwt.jwks_url)" in steps(explain(config(more=by_url), *asking(fresh())))["token"]


def test_what_a_token_says_is_judged_without_keys(explain: Command) -> None:
    written = config(more=f"jwt: {IDP}, routes_claim: scope}}")
    expired = explain(written, *asking(fresh(exp=1_000_000_000)))
    assert steps(expired)["verdict"].startswith("401 token_invalid: The token has expired")
    elsewhere = explain(written, *asking(fresh(scope="other")))
    assert steps(elsewhere)["verdict"].startswith("403 route_forbidden")
    assert elsewhere.exit_code == 1


def test_keys_in_a_file_check_signatures(explain: Command) -> None:
    written = config(more=f"jwt: {IDP}, jwks_file: jwks.json}}")
    missing = steps(explain(written, *asking(fresh())))
    assert missing["verdict"].startswith("503 store_unavailable: jwt.jwks_file cannot be used: ")
    Path("jwks.json").write_text(json.dumps(jwks(jwk("RS256"))))
    told = steps(explain(written, *asking(fresh())))
    assert told["token"] == "subject ada, signature checked with jwt.jwks_file"
    assert told["verdict"] == "101, if the upstream answers"
    Path("jwks.json").write_text(json.dumps(jwks(jwk("RS256", kid="another"))))
    other = explain(written, *asking(fresh()))
    assert "a key that its issuer does not have" in steps(other)["verdict"]


def test_a_shared_secret_checks_signatures(explain: Command) -> None:
    shared = "a-secret-of-thirty-two-bytes-or-more"
    settings = f"jwt: {{audience: wskeeper, algorithms: [HS256], secret: {shared}}}"
    made = token("HS256", key=shared.encode(), **{**CLAIMS, "exp": int(time.time()) + 600})
    told = steps(explain(config(more=settings), *asking(made.decode())))
    assert told["token"] == "subject ada, signature checked with jwt.secret"
    forged = token("HS256", key=SECRET, **{**CLAIMS, "exp": int(time.time()) + 600})
    assert "401 token_invalid" in explain(config(more=settings), *asking(forged.decode())).stdout


def test_a_secret_that_is_a_public_key_is_a_fault(explain: Command) -> None:
    public = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDf"
    settings = f'jwt: {{audience: wskeeper, algorithms: [HS256], secret: "{public}"}}'
    result = explain(config(more=settings), "/chat")
    assert result.exit_code == 1
    assert "Error: jwt.secret: " in result.stderr
    assert public not in result.output


# No credential is shown ------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [KEY, MISTYPED, "CANARY-unknown"])
@pytest.mark.parametrize("carriers", [EVERY, "{header: X-Other}", "first_message"])
@pytest.mark.parametrize("carrier", carried(""))
def test_no_credential_is_shown(
    wskeeper: Command, secret: str, carriers: str, carrier: str
) -> None:
    Path("wskeeper.yaml").write_text(config(carriers))
    path, *lines = carried(secret)[carrier]
    headers = [option for line in lines for option in ("--header", line)]
    for further in ([], ["--json"]):
        result = wskeeper("explain", "--path", path, *headers, *further)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert "CANARY" not in result.output


@pytest.mark.parametrize(
    "request_",
    [
        (f"/chat/{KEY}/x",),
        (f"/chat/{MISTYPED}",),
        ("/chat?CANARY",),
        (f"/chat?wskeeper_ticket={TICKET}",),
        (f"/chat?{KEY}=1",),
        (f"/{KEY}",),
        ("/chat", f"Sec-WebSocket-Protocol: wskeeper, wskeeper.ticket.{TICKET}"),
        ("/chat", "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.CANARY"),
        ("/chat", "Authorization: Basic CANARY"),
        ("/chat", "X-Auth-Token: CANARY"),
        ("/chat", "Cookie: session=CANARY; CANARY"),
        ("/chat", f"Origin: {KEY}"),
        ("/chat", f"User-Agent: {KEY}"),
    ],
)
def test_nothing_else_that_may_be_one_is_shown(explain: Command, request_: tuple[str, ...]) -> None:
    path, *lines = request_
    result = explain(config(), path, *lines, f"X-Api-Key: {KEY}")
    assert "verdict" in result.stdout
    assert "CANARY" not in result.output
