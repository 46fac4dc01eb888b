"""The subject of a client's certificate, as RFC 4514 writes it."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from proxy.handshake.client_certificate import subject_of
from proxy.keys.key import header_line

if TYPE_CHECKING:
    from collections.abc import Sequence

Names = tuple[tuple[tuple[str, str], ...], ...]


def certificate(*names: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What `getpeercert` gives for a subject, from the least specific name on."""
    return {"subject": tuple(map(tuple, names)), "version": 3}


def of_common_name(value: str) -> str:
    return subject_of(certificate([("commonName", value)]))


def test_most_specific_name_comes_first() -> None:
    shown = certificate(
        [("countryName", "DE")], [("organizationName", "Example")], [("commonName", "device-7")]
    )
    assert subject_of(shown) == "CN=device-7,O=Example,C=DE"


def test_names_that_belong_together_stay_together() -> None:
    shown = certificate([("organizationName", "Example")], [("commonName", "a"), ("userId", "u1")])
    assert subject_of(shown) == "CN=a+UID=u1,O=Example"


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("commonName", "CN"),
        ("localityName", "L"),
        ("stateOrProvinceName", "ST"),
        ("organizationName", "O"),
        ("organizationalUnitName", "OU"),
        ("countryName", "C"),
        ("streetAddress", "STREET"),
        ("domainComponent", "DC"),
        ("userId", "UID"),
        ("serialNumber", "serialNumber"),
        ("emailAddress", "emailAddress"),
    ],
)
def test_attributes_have_the_names_of_the_rfc(name: str, short: str) -> None:
    assert subject_of(certificate([(name, "x")])) == f"{short}=x"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("James", "James"),
        ("", ""),
        ("a,O=Admin", r"a\,O=Admin"),
        ("a+CN=b", r"a\+CN=b"),
        ('"q"', r"\"q\""),
        ("a\\b", r"a\\b"),
        ("<a;b>", r"\<a\;b\>"),
        ("#hash", r"\#hash"),
        ("in#side", "in#side"),
        (" blank ", r"\ blank\ "),
        (" ", r"\ "),
        ("a b", "a b"),
        ("a\r\nX-Admin: 1", r"a\0D\0AX-Admin: 1"),
        ("nul\0", r"nul\00"),
        ("Lučić", "Lučić"),
    ],
)
def test_nothing_in_a_value_is_read_as_structure(value: str, text: str) -> None:
    assert of_common_name(value) == f"CN={text}"


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("Hi", "0C024869"),
        ("x" * 128, "0C8180" + "78" * 128),
        ("x" * 256, "0C820100" + "78" * 256),
    ],
)
def test_attribute_without_a_name_is_written_in_ber(value: str, encoded: str) -> None:
    shown = certificate([("1.3.6.1.4.1.55555.1", value)])
    assert subject_of(shown) == f"1.3.6.1.4.1.55555.1=#{encoded}"


def test_certificate_without_a_subject_names_nobody() -> None:
    assert subject_of({"subject": (), "subjectAltName": (("URI", "spiffe://a/b"),)}) == ""
    assert subject_of({}) == ""


@given(st.text())
def test_every_value_can_be_read_back(value: str) -> None:
    text = of_common_name(value).removeprefix("CN=")
    assert not re.search(r'(?<!\\)(?:\\\\)*[",+;<>]', text)
    back = re.sub(
        r"\\(?:([0-9A-F]{2})|(.))",
        lambda match: chr(int(match[1], 16)) if match[1] else match[2],
        text,
    )
    assert back == value


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_header_line_is_one_line_of_printable_ascii(value: str) -> None:
    line = header_line("Client-Certificate", of_common_name(value))
    assert re.fullmatch(rb"X-Wskeeper-Client-Certificate: CN=[\x20-\x7e]*", line)


def test_subject_agrees_with_what_another_library_says() -> None:
    authority = trustme.CA()
    issued = authority.issue_cert(
        "device", common_name="Müller, Söhne + Co; #1", organization_name='"Q" <x>\\ '
    )
    [leaf] = x509.load_pem_x509_certificates(issued.cert_chain_pems[0].bytes())
    assert subject_of(peer_certificate(authority, issued)) == leaf.subject.rfc4514_string(
        {NameOID.ORGANIZATION_NAME: "O"}
    )


def peer_certificate(authority: trustme.CA, issued: trustme.LeafCert) -> dict[str, Any]:
    """What a server sees of a client that shows this certificate."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    issued.configure_cert(client)
    there, here = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(there, here, server_side=True),
        client.wrap_bio(here, there, server_hostname="localhost"),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    shown = ends[0].getpeercert()
    assert shown is not None
    return shown
