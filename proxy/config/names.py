"""Names that occur in a configuration: hosts, origins, header names, paths."""

from __future__ import annotations

import ipaddress
import re

from proxy.config.faults import Wrong

# RFC 9110 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Underscores are no host name by RFC 952, but container networks are full of them.
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_ORIGIN = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*)://(\[[^\]/?#@]*\]|[^:/?#@\[\]]+)(?::([0-9]{1,5}))?"
)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_LARGEST_PORT = 65_535

# RFC 3986 3.3, less the backslash and everything above ASCII.
_PATH_BYTES = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# An overlong UTF-8 sequence (`%c0`, `%c1`) is one more way to write any of them.
_HIDDEN_SEPARATOR = re.compile(r"%(?:2f|5c|7f|[01][0-9a-f]|c[01])", re.IGNORECASE)
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?=/|;|%3b|\Z)", re.IGNORECASE)


def is_token(text: str) -> bool:
    """Whether it is a token (RFC 9110 section 5.6.2), as names of headers and subprotocols are."""
    return _TOKEN.fullmatch(text) is not None


def header_name(text: str) -> str:
    """`text` itself, if it is a header's name (RFC 9110 5.1).

    Raises:
        Wrong: it is not.
    """
    if not is_token(text):
        raise Wrong("is not a header name", "use letters, digits and `-`, as in `X-Api-Key`")
    return text


def host(text: str) -> str:
    """A host name or IP address in its canonical form; IPv6 comes and goes in brackets.

    Raises:
        Wrong: it is neither.
    """
    if text.startswith("[") and text.endswith("]"):
        if "%" in text:
            raise Wrong("holds an IPv6 zone", "write an address that needs none")
        try:
            return f"[{ipaddress.IPv6Address(text[1:-1])}]"
        except ValueError:
            raise Wrong("holds a wrong IPv6 address", "write it as in `[::1]`") from None
    if not text.isascii():
        raise Wrong("holds a host name that is not ASCII", "write its `xn--` form")
    if not _HOST.fullmatch(text):
        raise Wrong(
            "holds no host name or IP address",
            "write a name such as `chat.example.com`, an IPv4 address, or IPv6 in brackets",
        )
    if text.rstrip(".").rpartition(".")[2].isdigit():
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise Wrong("holds a wrong IPv4 address", "write it as in `127.0.0.1`") from None
    return text.lower()


def host_pattern(text: str) -> str:
    """What a route's `host` may be: a host, or `*.` and a host, in lower case.

    Raises:
        Wrong: it is something else.
    """
    if text == "*":
        raise Wrong("stands for every host", "write `host: null`, or remove it")
    if "://" in text or "/" in text:
        raise Wrong("is a URL, not a host", "write the host alone, such as `chat.example.com`")
    if re.search(r"[^:\]]:[0-9]*\Z|\]:", text):
        raise Wrong("names a port", "write the host alone: a route answers on every port")
    wildcard = "*." if text.startswith("*.") else ""
    rest = text.removeprefix(wildcard)
    if "*" in rest:
        raise Wrong("has a `*` in the wrong place", "write `*.` in front, as in `*.example.com`")
    return wildcard + host(rest).rstrip(".")


def origin(text: str) -> str:
    """One origin as browsers send it (RFC 6454 6.2): `https://example.com`, or `null`.

    Raises:
        Wrong: it holds more or less than scheme, host and port.
    """
    if text == "null":
        return text
    if text == "*":
        raise Wrong("stands for every origin", "write `origins: null`, or remove it")
    match = _ORIGIN.fullmatch(text)
    if match:
        scheme, name, port = match[1].lower(), match[2], match[3]
        if port and not 0 < int(port) <= _LARGEST_PORT:
            raise Wrong("names a port that does not exist", "write one from 1 to 65535")
        shown = "" if port in {None, _DEFAULT_PORTS.get(scheme)} else f":{port}"
        return f"{scheme}://{host(name)}{shown}"
    if _ORIGIN.match(text):
        raise Wrong(
            "is more than an origin",
            "write scheme, host and port alone, without a slash or path: `https://example.com`",
        )
    raise Wrong("is not an origin", "write scheme and host, as in `https://example.com`")


def path(text: str) -> str:
    """A path that reads in one way only, so that what is matched is what is sent.

    Args:
        text: percent-encoded, as it stands in a request line.

    Raises:
        Wrong: it is ambiguous, or no path.
    """
    if not text.startswith("/"):
        raise Wrong("does not begin with `/`", f"write `{_path_in(text)}`")
    if "?" in text or "#" in text:
        raise Wrong("holds a query or fragment", "end it before the `?` or `#`")
    if "\\" in text:
        raise Wrong("holds a backslash", "write `/` between the parts")
    if not _PATH_BYTES.fullmatch(text) or _BAD_PERCENT.search(text):
        raise Wrong(
            "holds a character that cannot stand in a path",
            "percent-encode it, as in `/caf%C3%A9`",
        )
    if "//" in text:
        raise Wrong("holds an empty segment", "write one `/`, not `//`")
    if _DOT_SEGMENT.search(text):
        raise Wrong("holds a `.` or `..` segment", "write the path it leads to")
    if _HIDDEN_SEPARATOR.search(text):
        raise Wrong(
            "holds an encoded `/`, `\\` or control character",
            "write a path without it: such requests are refused",
        )
    return text


def _path_in(text: str) -> str:
    """What a text without a leading `/` most likely means: the path of a URL, or a bare name."""
    rest = text.partition("://")[2].partition("/")[2] if "://" in text else text
    # `^/chat` may be half of a pattern.
    for likely in (rest, rest.partition("/")[2]):
        try:
            return path(f"/{likely}")
        except Wrong:
            pass
    return "/ready"


def route_path(text: str) -> str:
    """A path that a route can have: also without a `/` at its end.

    Raises:
        Wrong: as `path`; ends with `/`; is kept for the gateway itself.
    """
    path(text)
    if text != "/" and text.endswith("/"):
        raise Wrong(
            "ends with `/`",
            f"write `{text[:-1]}`, which also matches everything under it",
        )
    if text == "/.wskeeper" or text.startswith("/.wskeeper/"):
        raise Wrong("is kept for the gateway's own answers", "choose a path outside `/.wskeeper`")
    return text
