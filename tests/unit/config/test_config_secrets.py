"""No fault repeats a secret, however it is misplaced, and nothing printed shows one."""

from __future__ import annotations

import pickle
import traceback
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from proxy.config.faults import ConfigInvalid
from proxy.config.model import Config

if TYPE_CHECKING:
    from tests.unit.config.conftest import ConfigFolder

CANARY = "CANARY-0123456789-0123456789"
ECHO = "routes: [{name: echo, path: /echo, upstream: 'ws://h'}]\n"

MISPLACED = [
    # As a value of the wrong kind, or refused by its own field.
    "keys: [{name: a, secret: [CANARY]}]\n",
    "keys: [{name: a, secret: {CANARY: CANARY}}]\n",
    'keys: [{name: a, secret: "CANARY\\n"}]\n',
    "keys: [{name: a, secret: ' CANARY'}]\n",
    "keys: [{name: a, secret: CANARY, sha256: CANARY}]\n",
    "keys: [{name: a, sha256: CANARY}]\n",
    "keys: [{name: a, secret: CANARY}, {name: b, secret: CANARY}]\nlisten: x\n",
    "admin: {token: [CANARY]}\n",
    "admin: {token: ' CANARY'}\n",
    "admin: CANARY\n",
    # Where another thing belongs.
    "keys: [CANARY]\n",
    "keys: CANARY\n",
    "keys: {CANARY: a}\n",
    "keys: [{CANARY: a}]\n",
    "keys: [{a: CANARY}]\n",
    "keys: [{name: a, secrt: CANARY}]\n",
    "keys: [{name: CANARY/, secret: x}]\n",
    "keys: [{name: a, secret: x, routes: [CANARY]}]\n",
    "keys: [{name: a, secret: x, routes: CANARY}]\n",
    "keys: [{name: a, secret: x, metadata: CANARY}]\n",
    "keys: [{name: a, secret: x, metadata: {k: [CANARY]}}]\n",
    "admin: {CANARY: true}\n",
    "admin: {listen: CANARY}\n",
    "carriers: [CANARY]\n",
    "carriers: [header: CANARY:]\n",
    "admin: {tokens: [{name: a, role: viewer, sha256: CANARY}]}\n",
    "admin: {tokens: [{name: a, role: CANARY}]}\n",
    "admin: {tokens: [{name: a, role: viewer, token: CANARY}]}\n",
    "admin: {tokens: [CANARY]}\n",
    "store: CANARY\n",
    "store: 'redis://:CANARY@h'\n",
    "store: 'postgres://a:CANARY@h'\n",
    "jwt: {audience: a, secret: [CANARY]}\n",
    "jwt: {audience: a, secret: CANARY, algorithms: [HS512]}\n",
    "jwt: {audience: a, secrt: CANARY}\n",
    "jwt: {audience: a, CANARY: 1}\n",
    "jwt: {audience: a, jwks_url: 'https://a:CANARY@h'}\n",
    "jwt: {audience: a, issuer: 'https://a:CANARY@h'}\n",
    "jwt: CANARY\n",
    "carriers: [query: 'CANARY/']\n",
    "carriers: [cookie: 'CANARY;']\n",
    "carriers: [ticket: CANARY]\n",
    "carriers: [CANARY: x]\n",
    "carriers: [first_message: CANARY]\n",
    "carriers: [first_message: {match: CANARY}]\n",
    "carriers: [first_message: {reply: {a: .nan, b: CANARY}}]\n",
    "plugins: [CANARY]\n",
    "CANARY\n",
    # In YAML that cannot be read.
    "keys: [{name: a, secret: *CANARY}]\n",
    "keys: [{name: a, secret: !CANARY x}]\n",
    "keys: [{name: a, secret: &CANARY}, {*x}]\n",
    "keys: [{name: a, secret: @CANARY}]\n",
    "keys: [{name: a, secret: %CANARY}]\n",
    'keys: [{name: a, secret: "CANARY\\q"}]\n',
    "keys: [{name: a, secret: 'CANARY}]\n",
    "keys: [{name: a, secret: [CANARY}]\n",
    "keys:\n- name: a\n  secret: CANARY: x\n",
    "keys:\n- name: a\n\tsecret: CANARY\n",
    "keys:\n- name: a\n   secret: CANARY\n",
    "keys:\n- name: a\n  secret: CANARY\n  secret: CANARY\n",
    "keys: [{name: a, ? CANARY CANARY : 1, 'CANARY CANARY': 2}]\n",
    "keys: [{name: a, secret: CANARY}]\n---\nb: 1\n",
    "keys: [{name: a, secret: CANARY\x01}]\n",
    # In references and URLs.
    "keys: [{name: a, secret: 'CANARY${'}]\n",
    "keys: [{name: a, secret: '${ABSENT}CANARY'}]\n",
    "keys: [{name: a, secret: '${X:-CANARY${Y}}'}]\n",
    "routes: [{name: x, path: /x, upstream: 'ws://a:CANARY@h'}]\n",
    "routes: [{name: x, path: /x, upstream: 'http://a:CANARY@h'}]\n",
    "routes: [{name: x, path: /x, upstream: 'ws://h/?key=CANARY'}]\n",
]


def _texts(invalid: ConfigInvalid) -> str:
    """Everything that a log, a traceback or a pickle of the exception could show."""
    return "\n".join(
        [
            *map(str, invalid.faults),
            *map(repr, invalid.faults),
            *traceback.format_exception(invalid, chain=True),
            repr(pickle.dumps(invalid.faults)),
        ]
    )


@pytest.mark.parametrize("text", MISPLACED)
def test_a_misplaced_secret_is_not_repeated(folder: ConfigFolder, text: str) -> None:
    text = text.replace("CANARY", CANARY)
    with pytest.raises(ConfigInvalid) as caught:
        folder.load(text if "routes: [{name: x" in text else text + ECHO)
    assert "CANARY" not in _texts(caught.value)


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("keys: [{name: a, secret: '${K}'}]\n", {"K": f" {CANARY}"}),
        ("keys: [{name: a, sha256: '${K}'}]\n", {"K": CANARY}),
        ("keys: [{name: a, secret: '${K}'}]\nlisten: x\n", {"K": CANARY}),
        ("keys: [{name: a, secret: '${K}'}]\n", {"K": CANARY, "K_FILE": CANARY}),
        ("listen: '${K}'\n", {"K": CANARY}),
        ("log: {level: '${K}'}\n", {"K": CANARY}),
        ("", {"WSKEEPER_ADMIN_TOKEN": f"{CANARY}\n"}),
        ("", {"WSKEEPER_ADMIN_TOKEN": CANARY, "WSKEEPER_ADMIN_TOKEN_FILE": CANARY}),
        ("listen: x\n", {"WSKEEPER_ADMIN_TOKEN": CANARY}),
        ("", {"WSKEEPER_STORE": f"redis://:{CANARY}@h"}),
        ("", {"WSKEEPER_LISTEN": CANARY}),
        ("", {"WSKEEPER_LOG_LEVEL": CANARY}),
    ],
)
def test_a_secret_from_the_environment_is_not_repeated(
    folder: ConfigFolder, text: str, environ: dict[str, str]
) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        folder.load(ECHO + text, environ)
    assert "CANARY" not in _texts(caught.value)


def test_warnings_do_not_repeat_a_secret(folder: ConfigFolder) -> None:
    text = f"{ECHO}keys: [{{name: a, secret: {CANARY}}}]\nadmin: {{token: {CANARY}}}\n"
    loaded = folder.load(text)
    assert len(loaded.warnings) == 2
    assert "CANARY" not in repr(loaded.warnings) + "".join(map(str, loaded.warnings))


def test_a_configuration_does_not_show_its_secrets(folder: ConfigFolder) -> None:
    text = f"{ECHO}keys: [{{name: a, secret: {CANARY}}}]\nadmin: {{token: {CANARY}}}\n"
    config = folder.load(text).config
    assert config.keys[0].secret is not None
    assert config.keys[0].secret.get_secret_value() == CANARY
    assert "CANARY" not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"


def test_the_model_alone_does_not_show_them_either() -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"keys": [{"name": "a", "secret": [CANARY]}]})
    assert "CANARY" not in str(caught.value)
