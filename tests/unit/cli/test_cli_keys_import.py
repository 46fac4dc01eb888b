"""`wskeeper keys import`, `export` and `import-file`: keys that exist already."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.keys_document import DocumentInvalid, document_of, read_document
from proxy.keys.key import Key, KeyLimits, Secret, digest_of
from proxy.keys.secret import make_secret
from proxy.stores.open import open_store
from tests.unit.cli.keys_scene import CONFIG, created, failed, kept, shown

if TYPE_CHECKING:
    from click.testing import Result

    from proxy.cli.keys_document import DocumentFault
    from tests.unit.cli.keys_scene import Command

LONG = b"a-secret-of-more-than-20-characters"
OURS = make_secret(random.Random(1).randrange)


def imported(wskeeper: Command, secret: bytes, *options: str) -> Result:
    created(wskeeper, name="first")
    line = ("keys", "import", "--name", "old", "--secret-stdin", *options)
    return wskeeper(*line, stdin=secret)


def old() -> Key:
    [key] = [key for key in kept() if key.name == "old"]
    return key


# import ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n"])
def test_a_secret_is_kept_as_it_is_less_one_newline(wskeeper: Command, tail: bytes) -> None:
    result = imported(wskeeper, LONG + tail, "--routes", "chat", "--expires", "2130-01-01")
    assert result.exit_code == 0, result.stderr
    assert "opens chat, until 2130-01-01" in result.stdout
    key = old()
    assert key.secrets == (Secret(digest_of(LONG)),)
    assert key.routes == frozenset({"chat"})
    assert not key.weak
    assert shown(wskeeper, "old")["weak"] is False


def test_what_was_imported_as_json(wskeeper: Command) -> None:
    result = imported(wskeeper, LONG, "--json")
    assert json.loads(result.stdout) == shown(wskeeper, "old")


def test_a_secret_may_hold_what_is_not_ascii(wskeeper: Command) -> None:
    assert imported(wskeeper, "ein Schlüssel mit Umlauten".encode()).exit_code == 0


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        (b"", "stdin is empty"),
        (b"\n", "stdin is empty"),
        (b"\r\n", "stdin is empty"),
        (LONG + b"\n\n", "line break"),
        (LONG + b"\n" + LONG, "line break"),
        (LONG + b"\0", "cannot be printed"),
        (b"\x1b" + LONG, "cannot be printed"),
        (LONG + b"\x7f", "cannot be printed"),
        (LONG + "\u202e".encode(), "cannot be printed"),
        (b" " + LONG, "white space"),
        (LONG + b"  \n", "white space"),
        (b"\xff\xfe" + LONG, "not UTF-8"),
        (b"x" * 40_000, "more than one secret"),
        (b"x" * 19, "less than 20 characters"),
        (OURS.text[:-1].encode(), "checksum is wrong"),
        (OURS.text.swapcase().replace("WSK_", "wsk_").encode(), "checksum is wrong"),
        (b"wsk_short", "checksum is wrong"),
        (b"wsk_of-something-else-altogether", "checksum is wrong"),
    ],
)
def test_what_no_client_could_send_is_refused(wskeeper: Command, secret: bytes, words: str) -> None:
    failed(imported(wskeeper, secret), words)
    assert len(kept()) == 1


def test_a_weak_secret_is_marked(wskeeper: Command) -> None:
    failed(imported(wskeeper, b"hunter2"), "--allow-weak")
    line = ("keys", "import", "--name", "old", "--secret-stdin", "--allow-weak")
    assert ", weak)" in wskeeper(*line, stdin=b"hunter2").stdout
    assert old().weak
    assert "active, weak" in wskeeper("keys", "list").stdout


def test_a_mistyped_key_is_refused_whatever_is_allowed(wskeeper: Command) -> None:
    failed(imported(wskeeper, b"wsk_short", "--allow-weak"), "checksum is wrong")


def test_a_strong_secret_is_not_weak_for_being_allowed_to(wskeeper: Command) -> None:
    imported(wskeeper, LONG, "--allow-weak")
    assert not old().weak


def test_a_key_of_another_gateway_keeps_its_id(wskeeper: Command) -> None:
    assert imported(wskeeper, OURS.text.encode()).exit_code == 0
    assert old().id == OURS.id


def test_a_digest_stands_for_a_secret_that_is_not_at_hand(wskeeper: Command) -> None:
    created(wskeeper, name="first")
    digest = hashlib.sha256(LONG).hexdigest()
    line = ("keys", "import", "--name", "old", "--sha256")
    assert wskeeper(*line, digest.upper()).exit_code == 0
    assert old().secrets == (Secret(digest_of(LONG)),)
    failed(wskeeper("keys", "import", "--name", "b", "--sha256", digest), "`old`", "the secret")


@pytest.mark.parametrize("tail", [" *stdin", "  -", "  a file.txt", " *stdin\n"])
def test_a_digest_may_have_the_file_behind_it(wskeeper: Command, tail: str) -> None:
    created(wskeeper, name="first")
    digest = hashlib.sha256(LONG).hexdigest()
    result = wskeeper("keys", "import", "--name", "old", "--sha256", digest + tail)
    assert result.exit_code == 0, result.stderr
    assert old().secrets == (Secret(digest_of(LONG)),)


def test_only_the_flag_tells_that_a_digest_is_weak(wskeeper: Command) -> None:
    created(wskeeper, name="first")
    digest = hashlib.sha256(b"hunter2").hexdigest()
    wskeeper("keys", "import", "--name", "old", "--sha256", digest, "--allow-weak")
    assert old().weak


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--secret-stdin and --sha256"),
        (["--secret-stdin", "--sha256", "ab" * 32], "--secret-stdin and --sha256"),
        (["--sha256", "ab" * 31], "64 hexadecimal digits"),
        (["--sha256", "xy" * 32], "64 hexadecimal digits"),
        (["--sha256", "ab" * 32 + " x"], "64 hexadecimal digits"),
        (["--sha256", "ab" * 33], "64 hexadecimal digits"),
        (["--sha256", "ab" * 32 + "  a\n" + "cd" * 32 + "  b"], "64 hexadecimal digits"),
        (["--sha256", hashlib.sha256().hexdigest() + "  -"], "digest of nothing"),
        (["--sha256", hashlib.sha256().hexdigest()], "digest of nothing"),
        (["--sha256", hashlib.sha256(b"\n").hexdigest()], "digest of nothing"),
        (["--sha256", "ab" * 32, "--limit", "x=1"], "--limit"),
    ],
)
def test_import_takes_one_secret(wskeeper: Command, options: list[str], words: str) -> None:
    failed(wskeeper("keys", "import", "--name", "old", *options), words, code=2)


# export and import-file --------------------------------------------------------------------------

NOW = 1_700_000_000.0
FULL = Key(
    "id1",
    "alice",
    (Secret(digest_of(b"new")), Secret(digest_of(b"old"), NOW + 0.1234567)),
    routes=frozenset({"chat", "a"}),
    created_at=NOW - 0.1,
    expires_at=NOW + 60,
    suspended_at=NOW + 1 / 3,
    revoked_at=NOW + 2 / 3,
    limits=KeyLimits(5, 4, 3, 0.5, (65_536, None), 10.0, 1e6, "close"),
    origins=frozenset({b"https://b.example", b"null"}),
    allow=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")),
    deny=(ipaddress.ip_network("10.1.0.0/16"),),
    metadata={"plan": "gold", "Name": "Jörg"},
    weak=True,
)
PLAIN = Key("id2", "bob", (Secret(digest_of(b"bob")),))


def fill(*keys: Key, file: str = "wskeeper.db") -> None:
    store = open_store(f"sqlite:{file}", create=True)
    store.add(keys, by="test")
    store.close()


def entry(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "secrets": [{"sha256": "ab" * 32}], **fields}


def document(*entries: Any) -> bytes:
    return json.dumps({"wskeeper_keys": 1, "keys": entries}).encode()


def read(data: bytes) -> list[Key]:
    return read_document(data, lambda: "new-id")


def test_what_was_exported_comes_back_exactly(wskeeper: Command) -> None:
    fill(FULL, PLAIN)
    exported = wskeeper("keys", "export").stdout
    fill(file="other.db")
    result = wskeeper(
        *("keys", "import-file", "-", "--store", "sqlite:other.db"), stdin=exported.encode()
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("imported 2 keys into sqlite:")
    assert kept("other.db") == kept() == [FULL, PLAIN]
    assert wskeeper("keys", "export", "--store", "sqlite:other.db").stdout == exported


def test_an_export_reads_well(wskeeper: Command) -> None:
    fill(PLAIN, replace(FULL, created_at=NOW))
    told = json.loads(wskeeper("keys", "export").stdout)
    assert told["wskeeper_keys"] == 1
    assert told["keys"][0]["created_at"] == "2023-11-14T22:13:20Z"
    assert told["keys"][0]["secrets"][0] == {
        "sha256": digest_of(b"new").hex(),
        "valid_until": None,
    }


def test_a_document_is_read_from_a_file(wskeeper: Command) -> None:
    fill(PLAIN)
    Path("keys.json").write_bytes(document(entry()))
    result = wskeeper("keys", "import-file", "keys.json", "--json")
    assert json.loads(result.stdout) == {"imported": 1}
    [_, key] = kept()
    assert (key.name, key.created_at, len(key.id)) == ("x", None, 10)
    assert wskeeper("keys", "import-file", "missing.json").exit_code == 2


def test_every_conflict_is_named_and_nothing_imported(wskeeper: Command) -> None:
    Path("wskeeper.yaml").write_text(CONFIG)
    fill(FULL, PLAIN)
    data = document(
        entry(),
        entry(name="alice", id="id2", secrets=[{"sha256": "cd" * 32}]),
        entry(name="legacy", secrets=[{"sha256": digest_of(b"old").hex()}]),
        entry(name="fine", secrets=[{"sha256": "ef" * 32}]),
    )
    result = wskeeper("keys", "import-file", "-", stdin=data)
    failed(
        result,
        "keys[0]: the key `legacy` (id legacy) has the same secret",
        "keys[1]: the key `bob` (id id2) has the same id",
        "keys[1]: the key `alice` (id id1) has the same name",
        "keys[2]: the key `legacy` (id legacy) has the same name",
        "keys[2]: the key `alice` (id id1) has the same secret",
        "nothing was imported",
    )
    assert "keys[3]" not in result.stderr
    assert kept() == [FULL, PLAIN]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the file: is not JSON"),
        (b"\xff", "the file: is not JSON"),
        (b"[" * 100_000, "the file: is not JSON"),
        (b"[]", "has no `wskeeper_keys: 1`"),
        (b'{"wskeeper_keys": 2, "keys": []}', "has no `wskeeper_keys: 1`"),
        (b'{"wskeeper_keys": 1}', "has no list `keys`"),
        (document(5), "keys[0]: is not an object"),
        (document({"secrets": [{"sha256": "ab" * 32}]}), "keys[0].name: is missing"),
        (document(entry(id="a b")), "keys[0].id: is not an id"),
        (document(entry(id=None)), "keys[0].id: is not an id"),
        (document(entry(weak="yes")), "keys[0].weak: is neither true nor false"),
        (document(entry(rutes=None)), "keys[0].rutes: is not a field of a key; did you mean"),
        (document(entry(zzz=None)), "keys[0].zzz: is not a field of a key; remove it"),
        (document(entry(created_at="soon")), "keys[0].created_at: is not a moment"),
        (document(entry(revoked_at=True)), "keys[0].revoked_at: is not a moment"),
        (document(entry(expires_at=-1)), "keys[0].expires_at: lies outside"),
        (document(entry(limits={"connections": 0})), "keys[0].limits.connections: is too small"),
        (document(entry(addresses={"allow": ["x"]})), "keys[0].addresses.allow[0]: is"),
        (document(entry(), entry(routes="chat")), "keys[1].routes: "),
        (document(entry(secrets=None)), "keys[0].secrets: is not a list"),
        (document(entry(secrets=[])), "keys[0].secrets: is not a list"),
        (document(entry(secrets=["x"])), "keys[0].secrets[0]: is not `sha256`"),
        (document(entry(secrets=[{"sha256": "x"}])), "keys[0].secrets[0].sha256: is not a SHA"),
        (document(entry(secrets=[{"sha256": 5}])), "keys[0].secrets[0].sha256: is not a SHA"),
        (document(entry(secrets=[{"valid_until": None}])), "keys[0].secrets[0]: is not"),
        (
            document(entry(secrets=[{"sha256": "ab" * 32, "secret": "x"}])),
            "keys[0].secrets[0]: is not",
        ),
        (
            document(entry(secrets=[{"sha256": "ab" * 32, "valid_until": "x"}])),
            "keys[0].secrets[0].valid_until: is not a moment",
        ),
        (
            document(entry(), entry(secrets=[{"sha256": "cd" * 32}])),
            "keys[1].id: is also keys[0].id",
        ),
        (
            document(entry(id="1"), entry(id="2", secrets=[{"sha256": "cd" * 32}])),
            "keys[1].name: is also keys[0].name",
        ),
        (
            document(entry(id="1"), entry(id="2", name="y")),
            "keys[1].secrets[0].sha256: is also keys[0].secrets[0].sha256",
        ),
    ],
)
def test_a_fault_names_its_entry_and_field(data: bytes, words: str) -> None:
    with pytest.raises(DocumentInvalid) as caught:
        read(data)
    assert words in str(caught.value)


def test_every_fault_is_told(wskeeper: Command) -> None:
    fill(PLAIN)
    data = document(entry(weak=5, created_at="x"), entry(name="a b"))
    result = wskeeper("keys", "import-file", "-", stdin=data)
    failed(result, "keys[0].weak", "keys[0].created_at", "keys[1].name", "nothing was imported")
    assert kept() == [PLAIN]


MOMENTS = st.none() | st.floats(0, 253_402_300_799.0) | st.integers(0, 4_000_000_000).map(float)
COUNTS = st.none() | st.integers(1, 1000)
RATES = st.none() | st.floats(1e-6, 1e9)
NETWORKS = st.lists(st.ip_addresses(v=4).map(lambda a: ipaddress.ip_network((a, 32))), max_size=3)


@given(
    st.builds(
        Key,
        id=st.from_regex(r"[0-9A-Za-z]{10}", fullmatch=True),
        name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.@:+-]{0,63}", fullmatch=True),
        secrets=st.lists(
            st.builds(Secret, st.binary(min_size=32, max_size=32), MOMENTS),
            min_size=1,
            unique_by=lambda secret: secret.digest,
        ).map(tuple),
        routes=st.none() | st.frozensets(st.sampled_from(["a", "b", "chat"]), min_size=1),
        created_at=MOMENTS,
        expires_at=MOMENTS,
        suspended_at=MOMENTS,
        revoked_at=MOMENTS,
        limits=st.builds(
            KeyLimits,
            COUNTS,
            COUNTS,
            COUNTS,
            RATES,
            st.tuples(COUNTS, COUNTS),
            RATES,
            COUNTS,
            st.none() | st.sampled_from(["throttle", "close"]),
        ),
        origins=st.none() | st.frozensets(st.sampled_from([b"null", b"https://a.example"])),
        allow=st.none() | NETWORKS.map(lambda found: tuple(dict.fromkeys(found))),
        deny=NETWORKS.map(lambda found: tuple(dict.fromkeys(found))),
        metadata=st.dictionaries(
            st.sampled_from(["plan", "team"]), st.sampled_from(["", "ü", "x"])
        ),
        weak=st.booleans(),
    )
)
def test_every_key_survives_its_document(key: Key) -> None:
    assert read(json.dumps(document_of([key])).encode()) == [key]


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_whatever_stands_in_a_document_is_a_fault_or_a_key(value: Any) -> None:
    for name in ("id", "name", "secrets", "routes", "limits", "expires_at", "weak"):
        faults: tuple[DocumentFault, ...] = ()
        try:
            assert len(read(document(entry(**{name: value})))) == 1
        except DocumentInvalid as invalid:
            faults = invalid.faults
        assert all(fault.path.startswith("keys[0]") for fault in faults)
