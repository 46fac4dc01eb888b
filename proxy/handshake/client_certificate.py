"""Whom a client's certificate names, as the text that the upstream is told (RFC 4514)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# RFC 4514 section 3, by the names that OpenSSL gives; other attributes keep theirs.
_SHORT: Final = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_OID: Final = re.compile(r"[0-9]+(?:\.[0-9]+)+")
# Section 2.4: what would be read as structure, blanks and `#` where they would be lost, and
# control characters, which no header line may hold.
_SPECIAL: Final = re.compile(r'[\\",+;<>]|\A[ #]| \Z')
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def subject_of(certificate: Mapping[str, Any]) -> str:
    """The subject of a certificate as an RFC 4514 string: `CN=device-7,O=Example`.

    Args:
        certificate: as Python's `SSLSocket.getpeercert` gives it.

    Returns:
        The most specific part first; empty for a certificate that names nobody but in its
        alternative names.
    """
    # Section 2.1: the sequence is written from its end.
    names: Iterable[Iterable[tuple[str, str]]] = reversed(certificate.get("subject", ()))
    return ",".join("+".join(_part(kind, value) for kind, value in name) for name in names)


def _part(kind: str, value: str) -> str:
    if _OID.fullmatch(kind):
        return f"{kind}=#{_encoded(value.encode()).hex().upper()}"
    return f"{_SHORT.get(kind, kind)}={_escaped(value)}"


def _escaped(value: str) -> str:
    text = _SPECIAL.sub(lambda match: "\\" + match[0], value)
    return _CONTROL.sub(lambda match: f"\\{ord(match[0]):02X}", text)


def _encoded(value: bytes) -> bytes:
    """A UTF8String in BER, which section 2.4 wants where an attribute has no name."""
    size = len(value)
    if size < 0x80:
        return bytes((0x0C, size)) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((0x0C, 0x80 | len(length))) + length + value
