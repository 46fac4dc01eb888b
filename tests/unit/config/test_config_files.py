"""The files that a configuration names."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import trustme

from proxy.config.files import check_files

if TYPE_CHECKING:
    from proxy.config.faults import Fault
    from tests.unit.config.conftest import ConfigFolder

LISTENER = """\
routes: [{name: echo, path: /echo, upstream: 'ws://h'}]
tls:
  certificate: cert.pem
  private_key: key.pem
"""
UPSTREAM = "routes: [{name: x, path: /x, upstream: {targets: ['wss://h'], tls: {%s}}}]\n"


@pytest.fixture(autouse=True)
def pem_files(folder: ConfigFolder) -> None:
    """`cert.pem` and `key.pem` belong together, `other.pem` is another key, `both.pem` has both."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(str(folder.path / "cert.pem"))
    issued.private_key_pem.write_to_path(str(folder.path / "key.pem"))
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder.path / "both.pem"))
    authority.issue_cert("h").private_key_pem.write_to_path(str(folder.path / "other.pem"))
    authority.cert_pem.write_to_path(str(folder.path / "ca.pem"))
    (folder.path / "empty.pem").write_bytes(b"")


def checked(folder: ConfigFolder, text: str) -> list[Fault]:
    loaded = folder.load(text)
    return check_files(loaded.config, loaded.places)


def test_a_matching_pair_is_no_fault(folder: ConfigFolder) -> None:
    assert checked(folder, LISTENER) == []


def test_an_authority_of_clients_is_no_fault(folder: ConfigFolder) -> None:
    assert checked(folder, LISTENER + "  client_ca: ca.pem\n") == []


@pytest.mark.parametrize(
    ("file", "problem"),
    [("absent.pem", "cannot be read (No such file"), ("key.pem", "holds no certificate")],
)
def test_an_unusable_authority_of_clients_is_a_fault(
    folder: ConfigFolder, file: str, problem: str
) -> None:
    [fault] = checked(folder, LISTENER + f"  client_ca: {file}\n")
    assert (fault.line, fault.path) == (5, "tls.client_ca")
    assert problem in fault.problem


def test_the_admin_listener_asks_for_no_certificate(folder: ConfigFolder) -> None:
    # Commands that speak to it have none to show.
    text = "admin: {tls: {certificate: cert.pem, private_key: key.pem, client_ca: ca.pem}}\n"
    assert folder.fault(LISTENER.partition("tls")[0] + text).path == "admin.tls"


@pytest.mark.parametrize(
    "fields", ["ca: ca.pem", "certificate: both.pem", "certificate: cert.pem, private_key: key.pem"]
)
def test_usable_files_for_an_upstream_are_no_fault(folder: ConfigFolder, fields: str) -> None:
    assert checked(folder, UPSTREAM % fields) == []


def test_a_configuration_without_files_has_no_fault_in_them(folder: ConfigFolder) -> None:
    assert checked(folder, LISTENER.partition("tls")[0]) == []


@pytest.mark.parametrize(
    ("certificate", "private_key", "line", "path", "problem"),
    [
        ("absent.pem", "key.pem", 3, "tls.certificate", "cannot be read (No such file"),
        ("cert.pem", "absent.pem", 4, "tls.private_key", "cannot be read (No such file"),
        (".", "key.pem", 3, "tls.certificate", "cannot be read (Is a directory"),
        ("key.pem", "key.pem", 3, "tls.certificate", "holds no PEM certificate"),
        ("cert.pem", "cert.pem", 4, "tls.private_key", "holds no PEM private key"),
        ("empty.pem", "key.pem", 3, "tls.certificate", "holds no PEM certificate"),
        ("cert.pem", "other.pem", 4, "tls.private_key", "is not the key of"),
    ],
)
def test_an_unusable_pair_names_file_and_place(
    folder: ConfigFolder, certificate: str, private_key: str, line: int, path: str, problem: str
) -> None:
    text = LISTENER.replace("cert.pem", certificate).replace(
        "private_key: key.pem", f"private_key: {private_key}"
    )
    [fault] = checked(folder, text)
    assert (fault.file, fault.line, fault.path) == ("wskeeper.yaml", line, path)
    assert problem in fault.problem
    assert str(folder.path) in fault.problem


def test_both_files_of_a_pair_are_looked_at(folder: ConfigFolder) -> None:
    text = LISTENER.replace("cert.pem", "a.pem").replace("key.pem", "b.pem")
    assert [fault.path for fault in checked(folder, text)] == ["tls.certificate", "tls.private_key"]


def test_a_broken_pem_file_is_a_fault(folder: ConfigFolder) -> None:
    pem = (folder.path / "cert.pem").read_text()
    (folder.path / "cert.pem").write_text(pem.replace("MII", "!!!", 1))
    [fault] = checked(folder, LISTENER)
    assert "cannot be used with" in fault.problem


def test_an_encrypted_key_is_a_fault_and_asks_nobody(folder: ConfigFolder) -> None:
    subprocess.run(
        [
            "openssl",
            "pkey",
            "-in",
            "key.pem",
            "-aes256",
            "-passout",
            "pass:x",
            "-out",
            "locked.pem",
        ],
        check=True,
        cwd=folder.path,
        capture_output=True,
    )
    [fault] = checked(folder, LISTENER.replace("key.pem", "locked.pem"))
    assert "is encrypted" in fault.problem
    assert "openssl pkey" in fault.mend


@pytest.mark.parametrize(
    ("fields", "path", "problem"),
    [
        ("ca: absent.pem", "ca", "cannot be read"),
        ("ca: empty.pem", "ca", "holds no certificate"),
        ("ca: key.pem", "ca", "holds no certificate"),
        ("certificate: cert.pem", "certificate", "holds no PEM private key"),
        ("certificate: absent.pem", "certificate", "cannot be read"),
    ],
)
def test_an_upstreams_files_are_looked_at(
    folder: ConfigFolder, fields: str, path: str, problem: str
) -> None:
    [fault] = checked(folder, UPSTREAM % fields)
    assert fault.path == f"routes[0].upstream.tls.{path}"
    assert problem in fault.problem


def test_the_folder_of_a_socket_must_exist(folder: ConfigFolder) -> None:
    text = (
        LISTENER.partition("tls")[0] + "listen: unix:run/a.sock\nadmin: {listen: 'unix:b.sock'}\n"
    )
    [fault] = checked(folder, text)
    assert fault.path == "listen"
    (folder.path / "run").mkdir()
    assert checked(folder, text) == []


def test_without_places_a_fault_names_no_line(folder: ConfigFolder) -> None:
    config = folder.load(LISTENER.replace("cert.pem", "absent.pem")).config
    [fault] = check_files(config)
    assert (fault.file, fault.line, fault.path) == ("configuration", None, "tls.certificate")


def test_the_admin_listeners_files_are_looked_at_too(folder: ConfigFolder) -> None:
    text = LISTENER.partition("tls")[0] + "admin: {tls: {certificate: %s, private_key: key.pem}}\n"
    assert checked(folder, text % "cert.pem") == []
    [fault] = checked(folder, text % "absent.pem")
    assert (fault.line, fault.path) == (2, "admin.tls.certificate")


def test_the_stores_folder_must_exist(folder: ConfigFolder) -> None:
    text = LISTENER.partition("tls")[0]
    assert checked(folder, f"{text}store: 'memory:'\n") == []
    assert checked(folder, f"{text}store: sqlite:a.db\n") == []
    [fault] = checked(folder, f"{text}store: sqlite:absent/a.db\n")
    assert (fault.line, fault.path, fault.mend) == (2, "store", "make the folder")
    assert f"{folder.path}/absent" in fault.problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read (No such file"),
        ("", "is no JWK set"),
        ("[]", "is no JWK set"),
        ('{"keys": {}}', "is no JWK set"),
        ('{"keys": []}', "is no JWK set"),
        ("\xff", "is no JWK set"),
        ('{"keys": [{}]}', None),
    ],
)
def test_a_file_of_public_keys_is_looked_at(
    folder: ConfigFolder, content: str | None, problem: str | None
) -> None:
    if content is not None:
        (folder.path / "jwks.json").write_bytes(content.encode("latin-1"))
    faults = checked(
        folder,
        LISTENER.partition("tls")[0] + "jwt: {audience: a, jwks_file: jwks.json}\n",
    )
    assert [(fault.line, fault.path) for fault in faults] == [(2, "jwt.jwks_file")] * (
        problem is not None
    )
    assert all(problem in fault.problem for fault in faults if problem)
