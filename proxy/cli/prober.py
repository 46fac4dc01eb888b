"""Dials a URL as a client would, for `wskeeper doctor`. Redirects are never followed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from cryptography import x509
from cryptography.x509.oid import NameOID

from proxy.cli.observation import Connection, Idleness, Reply, Unreached
from proxy.errors import NORMAL, Refused
from proxy.handshake.answer import AnswerReader
from proxy.handshake.body import RefusalBody
from proxy.relay.frames import FIN, LENGTH_BITS, MASKED, OPCODE_BITS, Opcode, close_frame, unmask

if TYPE_CHECKING:
    from proxy.cli.observation import Place
    from proxy.handshake.head import Headers

# Seconds for a socket to open, and for an answer: longer than a gateway takes to give up.
_PATIENCE: Final = 20.0
# Seconds for the body of a refusal, and those in which a refusal follows its 101.
_SETTLE: Final = 1.0
_READ: Final = 65_536
_EMPTY_CLOSE: Final = (1005, "")
_CUT: Final = (1006, "")
_UNREADABLE: Final = "its certificate cannot be read"


class ControlFrames:
    """The control frames in what a server sends; data frames are passed over (RFC 6455 5.2)."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        # What is still to come of a data frame's payload.
        self._skip = 0

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> tuple[int, bytes] | None:
        """Opcode and payload of the next one; None while none is complete."""
        buffer = self._buffer
        while True:
            skipped = min(self._skip, len(buffer))
            del buffer[:skipped]
            self._skip -= skipped
            if self._skip or len(buffer) < 2:
                return None
            size, begin = buffer[1] & LENGTH_BITS, 2
            if size >= 126:
                begin = 4 if size == 126 else 10
                if len(buffer) < begin:
                    return None
                size = int.from_bytes(buffer[2:begin], "big")
            opcode = buffer[0] & OPCODE_BITS
            if opcode < Opcode.CLOSE:
                del buffer[:begin]
                self._skip = size
                continue
            if len(buffer) < begin + size:
                return None
            payload = bytes(buffer[begin : begin + size])
            del buffer[: begin + size]
            return opcode, payload


class Probe:
    """One connection, and what is asked on it.

    Args:
        place: whom to dial.
        context: of TLS; None for plain TCP.

    Raises:
        OSError: on entering: it cannot be reached (`ssl.SSLError` and TimeoutError included).
    """

    def __init__(self, place: Place, context: ssl.SSLContext | None) -> None:
        self._place = place
        self._context = context
        self._frames = ControlFrames()
        self._time = asyncio.get_running_loop().time
        # When the 101 came, and when the last byte did.
        self._began = self._heard = 0.0

    async def __aenter__(self) -> Self:
        secure: dict[str, Any] = {}
        if self._context is not None:
            secure = {"ssl": self._context, "server_hostname": self._place.host}
        async with asyncio.timeout(_PATIENCE):
            self._reader, self._writer = await asyncio.open_connection(
                self._place.host, self._place.port, **secure
            )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_SETTLE):
                await self._writer.wait_closed()

    def connection(self, distrust: str | None = None) -> Connection:
        """Who is at the other end."""
        peer, local = (
            self._writer.get_extra_info(name)[0].partition("%")[0]
            for name in ("peername", "sockname")
        )
        encrypted = self._writer.get_extra_info("ssl_object")
        if encrypted is None:
            return Connection(peer, local)
        leaf = x509.load_der_x509_certificate(encrypted.getpeercert(binary_form=True))
        ends = leaf.not_valid_after_utc.timestamp()
        return Connection(peer, local, encrypted.version(), _names(leaf), ends, distrust)

    async def ask(self, request: bytes, nonce: bytes = b"") -> Reply:
        """Sends a request; what came back. Behind a 101 the connection stays open.

        Args:
            nonce: the Sec-WebSocket-Key in it; empty for an ordinary request.
        """
        answers, begin = AnswerReader(), b""
        try:
            async with asyncio.timeout(_PATIENCE):
                self._writer.write(request)
                while True:
                    data = await self._reader.read(_READ)
                    if not data:
                        return Reply(None, begin, nonce=nonce, cause="it hung up")
                    begin = begin or data[:64]
                    answer = answers.feed(data)
                    if answer is not None:
                        break
        except Refused as refused:
            return Reply(None, begin, nonce=nonce, cause=refused.cause or "")
        except OSError as failure:
            return Reply(None, begin, nonce=nonce, cause=words(failure))
        head, rest = answer
        if head.status == 101:
            self._began = self._heard = self._time()
            self._frames.feed(rest)
            return Reply(head, begin, close=await self._refusal(), nonce=nonce)
        return Reply(head, begin, await self._body(head.headers, rest), nonce=nonce)

    async def idle(self, seconds: float) -> Idleness:
        """Stays silent and answers pings, as browsers do, until so many seconds after the 101."""
        end: Literal["close", "eof", "reset"] | None = None
        close, pings = _EMPTY_CLOSE, 0
        try:
            async with asyncio.timeout_at(self._began + seconds):
                while True:
                    opcode, payload = await self._control_frame()
                    if opcode == Opcode.CLOSE:
                        end, close = "close", _read(payload)
                        break
                    if opcode == Opcode.PING:
                        pings += 1
                        self._writer.write(_pong(payload))
        except TimeoutError:
            pass
        except EOFError:
            end = "eof"
        except OSError:
            end = "reset"
        now = self._time()
        return Idleness(now - self._began, now - self._heard, end, close, pings)

    def take_leave(self) -> None:
        """Says goodbye on a WebSocket that opened."""
        self._writer.write(close_frame(NORMAL, "", mask=os.urandom(4)))

    async def _refusal(self) -> tuple[int, str] | None:
        """The Close frame that follows a 101 where refusals are said so; None if none does."""
        try:
            async with asyncio.timeout(_SETTLE):
                while True:
                    opcode, payload = await self._control_frame()
                    if opcode == Opcode.CLOSE:
                        return _read(payload)
        except TimeoutError:
            return None
        except (EOFError, OSError):
            return _CUT

    async def _control_frame(self) -> tuple[int, bytes]:
        while True:
            frame = self._frames.next()
            if frame is not None:
                return frame
            data = await self._reader.read(_READ)
            if not data:
                raise EOFError
            self._heard = self._time()
            self._frames.feed(data)

    async def _body(self, headers: Headers, data: bytes) -> bytes:
        body = RefusalBody(headers)
        with contextlib.suppress(OSError):
            async with asyncio.timeout(_SETTLE):
                while not body.feed(data):
                    data = await self._reader.read(_READ)
                    if not data:
                        break
        return body.taken


async def reach(place: Place, context: ssl.SSLContext | None) -> Connection | Unreached:
    """Opens a socket and closes it again.

    Over TLS that is not trusted it does so once more, to tell whose certificate it is.
    """
    try:
        async with Probe(place, context) as probe:
            return probe.connection()
    except ssl.SSLCertVerificationError as failure:
        distrust = failure.verify_message
    except OSError as failure:
        return Unreached(_step(failure), words(failure))
    except UnicodeError:
        return Unreached("name", "it is no host name")
    except ValueError:
        return Unreached("tls", _UNREADABLE)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    try:
        async with Probe(place, trusting) as probe:
            return probe.connection(distrust)
    except OSError:
        return Unreached("tls", distrust)
    except ValueError:
        return Unreached("tls", _UNREADABLE)


def client_context(ca: str | None, certificate: str | None) -> ssl.SSLContext:
    """How a server is trusted, and what it is shown.

    Args:
        ca: PEM bundle in place of the system's.
        certificate: PEM file with a certificate and its key.

    Raises:
        OSError: a file cannot be used.
    """
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["http/1.1"])
    if certificate is not None:
        # Without a password OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(certificate, None, "")
    return context


def words(failure: OSError) -> str:
    """A failure in words, without what was asked for."""
    if isinstance(failure, TimeoutError):
        return f"nothing within {_PATIENCE:g} s"
    if isinstance(failure, ssl.SSLError):
        return failure.reason or "TLS failed"
    if isinstance(failure, ConnectionRefusedError):
        return "Connection refused"
    # asyncio's own for several addresses repeats each; the system's words do.
    number = failure.errno or 0
    return os.strerror(number) if number > 0 else str(failure.strerror or "it was cut")


def _step(failure: OSError) -> Literal["name", "tcp", "tls"]:
    if isinstance(failure, ssl.SSLError):
        return "tls"
    return "name" if isinstance(failure, socket.gaierror) else "tcp"


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    """The names that a certificate is for."""
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return tuple(
            str(name.value) for name in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        )
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return (*found.get_values_for_type(x509.DNSName), *addresses)


def _read(payload: bytes) -> tuple[int, str]:
    """Code and reason of a Close frame (RFC 6455 section 5.5.1)."""
    if len(payload) < 2:
        return _EMPTY_CLOSE
    return int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8", "replace")


def _pong(payload: bytes) -> bytes:
    mask = os.urandom(4)
    return bytes((FIN | Opcode.PONG, MASKED | len(payload))) + mask + unmask(payload, mask)
