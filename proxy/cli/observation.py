"""What `wskeeper doctor` saw of a URL, before anything is made of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import urlsplit

from proxy.config.faults import Wrong

if TYPE_CHECKING:
    from proxy.handshake.head import AnswerHead

_SCHEMES = {"ws": False, "wss": True, "http": False, "https": True}
_TARGET = re.compile(r"/[!-~]*")
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_CODE = re.compile(r"[a-z_]{1,40}")


class Place(NamedTuple):
    """Whom to dial, and what to ask for.

    Args:
        target: path and query; the query may hold a credential.
    """

    secure: bool
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """What the Host header says: no port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """The origin of a page that this very host serves (RFC 6454)."""
        return f"{'https' if self.secure else 'http'}://{self.authority}"

    def __str__(self) -> str:
        scheme = "wss" if self.secure else "ws"
        return f"{scheme}://{self.authority}{self.target.partition('?')[0]}"


def read_url(text: str) -> Place:
    """The place that a URL names; `http` and `https` stand for `ws` and `wss`.

    Raises:
        Wrong: it is none. What it says is not repeated: it may hold a credential.
    """
    example = "write it as in wss://gateway.example/chat"
    try:
        parts = urlsplit(text)
        secure, host, port = _SCHEMES.get(parts.scheme), parts.hostname, parts.port
    except ValueError:
        raise Wrong("is not a URL", example) from None
    if secure is None or host is None or not _HOST.fullmatch(host):
        raise Wrong("is not a WebSocket's", example)
    if parts.username is not None or parts.password is not None:
        raise Wrong("holds a user or password, which WebSocket clients do not send", "remove them")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _TARGET.fullmatch(target):
        raise Wrong("holds characters that must be percent-encoded", example)
    return Place(secure, host, port or (443 if secure else 80), target)


class Connection(NamedTuple):
    """A socket that opened.

    Args:
        peer, local: addresses of its two ends.
        tls: the version spoken; None for plain TCP.
        names: that the certificate is for.
        ends: of the certificate, in seconds since the epoch.
        distrust: why the certificate is not trusted; None when it is.
    """

    peer: str
    local: str
    tls: str | None = None
    names: tuple[str, ...] = ()
    ends: float = 0.0
    distrust: str | None = None


class Unreached(NamedTuple):
    """No socket opened: at which step, and why."""

    step: Literal["name", "tcp", "tls"]
    cause: str


class Reply(NamedTuple):
    """What came back for one request.

    Args:
        head: None when nothing came that is HTTP/1.
        begin: the first bytes.
        body: of an answer that is no 101.
        close: code and reason of a Close frame right behind a 101.
        nonce: the Sec-WebSocket-Key that was sent; empty for an ordinary request.
        cause: why there is no answer.
    """

    head: AnswerHead | None
    begin: bytes = b""
    body: bytes = b""
    close: tuple[int, str] | None = None
    nonce: bytes = b""
    cause: str = ""

    @property
    def status(self) -> int:
        """0 when nothing was answered."""
        return 0 if self.head is None else self.head.status

    def header(self, name: bytes) -> str:
        """The value of the only line of that name, empty without one."""
        value = None if self.head is None else self.head.headers.one(name)
        return (value or b"").decode("utf-8", "replace")

    @property
    def code(self) -> str | None:
        """The outcome as a wskeeper names it, wherever it says so; None when none of it does."""
        if self.status == 101:
            reason = "" if self.close is None else self.close[1]
            return reason if _CODE.fullmatch(reason) else None
        told = self.header(b"x-wskeeper-code")
        if not told:
            kind = self.problem.get("type")
            told = kind.removeprefix("urn:wskeeper:") if isinstance(kind, str) else ""
        return told if _CODE.fullmatch(told) else None

    @property
    def of_operators(self) -> bool:
        """Whether a listener for operators gave it: those name themselves, that of clients not."""
        return self.header(b"server") == "wskeeper"

    @property
    def problem(self) -> dict[str, object]:
        """The body as problem+json (RFC 9457); empty when it is none."""
        try:
            read = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return read if isinstance(read, dict) else {}

    @property
    def opened(self) -> bool:
        """Whether a WebSocket opened, and was not closed again in place of a refusal."""
        return self.status == 101 and self.close is None


class Idleness(NamedTuple):
    """How a silent WebSocket went on.

    Args:
        seconds: from its begin until it ended, or as long as it was watched.
        quiet: seconds for which nothing at all had gone either way when it ended.
        end: None when it was still open.
        close: the code and reason of the Close frame that ended it.
        pings: that were answered.
    """

    seconds: float
    quiet: float
    end: Literal["close", "eof", "reset"] | None
    close: tuple[int, str] = (1005, "")
    pings: int = 0
