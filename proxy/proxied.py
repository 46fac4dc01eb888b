"""A listener behind balancers that speak the PROXY protocol, version 2.

Before a connection is anything else it is a block that says who it is from. So sockets are
accepted here, by hand; the block is taken off to the byte, and what is behind it, TLS included,
stays in the kernel for the event loop to read as if nothing had been before it.

Only trusted peers may say who a client is. All others are turned away, since nobody else has
business at such a listener, and what they send would be told apart from a client's by nothing.
"""

from __future__ import annotations

import errno
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from proxy.deadlines import DeadlineQueue
from proxy.handshake.client import peer_address, text_of, within
from proxy.handshake.proxy_protocol import MAX_LENGTH, Malformed, parse
from proxy.listeners import listening_socket, secured

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable, Sequence

    from proxy.config.values import Address as ListenAddress
    from proxy.handshake.client import Address, Network
    from proxy.logs import Logger

# Connections accepted in one turn of the loop; others are waiting for theirs.
_AT_ONCE: Final = 128

# Seconds without accepting when the system has no file or memory for one more.
_REST: Final = 1.0

# What accept(2) reports of the one connection that it took from the queue.
_OF_ONE_CONNECTION: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,  # A firewall's word.
        errno.EPROTO,
    }
)

# Bytes looked at: the longest block there is, its fixed part included.
_LOOK: Final = MAX_LENGTH + 16

# Seconds between two warnings of the same cause.
_WARN_EVERY: Final = 60.0

_UNTRUSTED: Final = "the peer is in no network of trusted_proxies"
_NOBODY: Final = "the PROXY protocol block names no client that came over TCP"
_CUT: Final = "the PROXY protocol block was not sent whole"
_CROWDED: Final = "too many connections are waiting for their PROXY protocol block"


def listen_proxied(
    address: ListenAddress,
    door: Callable[[Address | None], asyncio.BaseProtocol],
    *,
    name: str,
    trusted: Sequence[Network],
    at_most: int | None,
    log: Logger,
    loop: asyncio.AbstractEventLoop,
    tls: ssl.SSLContext | None = None,
    handshake_timeout: float = 10.0,
    close_timeout: float = 5.0,
) -> ProxiedListener:
    """Listens on an address for balancers that speak the PROXY protocol.

    Args:
        door: makes the protocol of a connection from the address of its client; None when the
            balancer speaks for itself: the socket's own peer is the client then.
        name: of the configuration field, for errors.
        trusted: who may say whom a connection is from; a Unix socket's peers are 127.0.0.1.
        at_most: connections that may be on their way to a door; the oldest makes room.
        tls: None for plain TCP. The block comes before TLS.
        handshake_timeout: seconds for the block, and again for the TLS handshake.
        close_timeout: seconds for TLS to be shut down in good order.

    Raises:
        CannotListen: with the place and the mend.
    """
    secure = secured(tls, handshake_timeout=handshake_timeout, close_timeout=close_timeout)
    sock = listening_socket(address, name=name)
    return ProxiedListener(
        sock,
        door,
        trusted=trusted,
        at_most=at_most,
        deadlines=DeadlineQueue(handshake_timeout, loop),
        secure=secure,
        log=log,
        loop=loop,
    )


class ProxiedListener:
    """Accepts connections and hands them over once it is known who they are from.

    Args:
        sock: listens already; is closed with the listener.
        deadlines: of PROXY protocol blocks; of no others.
        secure: how TLS is spoken, for `connect_accepted_socket`.

    The others are those of `listen_proxied`.
    """

    def __init__(
        self,
        sock: socket.socket,
        door: Callable[[Address | None], asyncio.BaseProtocol],
        *,
        trusted: Sequence[Network],
        at_most: int | None,
        deadlines: DeadlineQueue,
        secure: dict[str, Any],
        log: Logger,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.loop = loop
        self.deadlines = deadlines
        self._sock = sock
        self._door = door
        self.trusted = trusted
        self.at_most = at_most
        self.secure = secure
        self._log = log
        # On their way to a door; dicts keep their order.
        self._arrivals: dict[_Arrival, None] = {}
        self._giving: set[asyncio.Task[Any]] = set()
        # By cause; causes are a handful.
        self._warned: dict[str, float] = {}
        # Set while nothing is accepted.
        self._resting: asyncio.TimerHandle | None = None
        self._closed = False
        sock.setblocking(False)
        loop.add_reader(sock, self._accept)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """Where it listens; nowhere once it was closed."""
        return () if self._closed else (self._sock,)

    def __len__(self) -> int:
        """How many connections are on their way to a door."""
        return len(self._arrivals)

    def close(self) -> None:
        """Accepts nobody any more and drops who has not reached a door; sessions stay."""
        if self._closed:
            return
        self._closed = True
        if self._resting is None:
            self.loop.remove_reader(self._sock)
        else:
            self._resting.cancel()
        self._sock.close()
        for arrival in list(self._arrivals):
            arrival.drop()
        self.deadlines.clear()

    # Accepting ---------------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, name = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as failure:
                if failure.errno in _OF_ONE_CONNECTION:
                    continue
                self._rest(failure)
                return
            self._receive(sock, peer_address(name))

    def _rest(self, failure: OSError) -> None:
        """Nothing can be accepted for now, and what waits would wake the loop all the time."""
        cause = failure.strerror or str(failure)
        if self._may_warn(cause):
            self._log.warning("accept_failed", listener="public", cause=cause, retry_in_s=_REST)
        self.loop.remove_reader(self._sock)
        self._resting = self.loop.call_later(_REST, self._go_on)

    def _go_on(self) -> None:
        self._resting = None
        self.loop.add_reader(self._sock, self._accept)

    def _receive(self, sock: socket.socket, peer: Address) -> None:
        if not within(peer, self.trusted):
            sock.close()
            self.note_refused(peer, _UNTRUSTED)
            return
        if self.at_most is not None and len(self._arrivals) >= self.at_most:
            next(iter(self._arrivals)).drop(_CROWDED)
        sock.setblocking(False)
        arrival = _Arrival(self, sock, peer)
        self._arrivals[arrival] = None
        arrival.begin()

    # What arrivals need ------------------------------------------------------------------------

    def forget(self, arrival: _Arrival) -> None:
        """One has reached its door, or never will."""
        self._arrivals.pop(arrival, None)

    def note_refused(self, peer: Address, cause: str) -> None:
        """A line for a connection that was closed, a warning now and then: all may be closed."""
        tell = self._log.warning if self._may_warn(cause) else self._log.debug
        tell("proxy_protocol_refused", peer=text_of(peer), cause=cause)

    def give(self, sock: socket.socket, source: Address | None) -> asyncio.Task[Any]:
        """Hands a connection over to a door of its own."""
        task = self.loop.create_task(
            self.loop.connect_accepted_socket(partial(self._door, source), sock, **self.secure),
            name="hand over",
        )
        self._giving.add(task)
        task.add_done_callback(self._giving.discard)
        return task

    def _may_warn(self, cause: str) -> bool:
        now = self.loop.time()
        if now < self._warned.get(cause, now):
            return False
        self._warned[cause] = now + _WARN_EVERY
        return True


class _Arrival:
    """One connection on its way to a door."""

    __slots__ = ("_block", "_handing_over", "_listener", "_peer", "_sock")

    def __init__(self, listener: ProxiedListener, sock: socket.socket, peer: Address) -> None:
        self._listener = listener
        self._sock = sock
        self._peer = peer
        # What was taken off the socket.
        self._block = b""
        # Set during the TLS handshake.
        self._handing_over: asyncio.Task[Any] | None = None

    def begin(self) -> None:
        """Waits for the block; balancers send it at once."""
        self._listener.deadlines.add(self)
        self._listener.loop.add_reader(self._sock, self._read)

    def overdue(self) -> None:
        """The block did not come in time."""
        self.drop(_CUT if self._block else None)

    def drop(self, cause: str | None = None) -> None:
        """Closes the connection; a cause is worth a line."""
        if self._handing_over is None:
            self._leave()
            self._sock.close()
        else:
            self._handing_over.cancel()
        self._listener.forget(self)
        if cause is not None:
            self._listener.note_refused(self._peer, cause)

    def _read(self) -> None:
        try:
            ahead = self._sock.recv(_LOOK, socket.MSG_PEEK)
            parsed = parse(self._block + ahead)
            # All of an incomplete block is taken: left there it would wake the loop all the time.
            ours = len(ahead) if parsed is None else parsed.size - len(self._block)
            self._block += self._sock.recv(ours)
        except BlockingIOError:
            return
        except OSError:
            self.drop()
            return
        except Malformed as malformed:
            self.drop(str(malformed))
            return
        if not ahead:
            self.drop(_CUT if self._block else None)
        elif parsed is not None and parsed.size == len(self._block):
            if parsed.source is None and not parsed.local:
                # With the balancer for a client, whoever it is would be believed like one.
                self.drop(_NOBODY)
            else:
                self._hand_over(parsed.source)

    def _leave(self) -> None:
        """Nothing is waited for any more."""
        self._listener.deadlines.discard(self)
        self._listener.loop.remove_reader(self._sock)

    def _hand_over(self, source: Address | None) -> None:
        self._leave()
        task = self._listener.give(self._sock, source)
        task.add_done_callback(self._handed_over)
        if self._listener.secure:
            self._handing_over = task
        else:
            # Nobody is waited for. And were the task cancelled, uvloop would close the socket of
            # a door without a word to it.
            self._listener.forget(self)

    def _handed_over(self, task: asyncio.Task[Any]) -> None:
        self._listener.forget(self)
        failure = None if task.cancelled() else task.exception()
        if task.cancelled() or failure is not None:
            self._sock.close()
        # A client that fails in TLS or is gone makes no more noise than at other listeners.
        if failure is not None and not isinstance(failure, OSError):
            self._listener.loop.call_exception_handler(
                {"message": "a connection was not handed over", "exception": failure}
            )
