"""Rules about the listeners, the trusted proxies and the admin listener's tokens."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from proxy.config import values
from proxy.config.digests import digest_of
from proxy.config.faults import Finding
from proxy.config.rules import SHORT_SECRET, entries, read, section, short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config.rules import Data

_LISTEN = "127.0.0.1:8080"
_ADMIN_LISTEN = "127.0.0.1:8081"
# What the holder of `admin.token` is called.
_SOLE_TOKEN = "admin"  # noqa: S105 - a name


def findings(data: Data) -> Iterator[Finding]:
    """Every breach of these rules, and what deserves a warning."""
    yield from _addresses(data)
    yield from _tokens(section(data, "admin"))
    yield from _drain(section(data, "drain"))
    if data.get("proxy_protocol") is True and not data.get("trusted_proxies"):
        yield Finding(
            ("proxy_protocol",),
            "needs `trusted_proxies`: nobody else may say who the client is",
            "name the networks of your balancers there",
        )
    for network in read(values.networks, data.get("trusted_proxies")) or ():
        if network.prefixlen == 0:
            yield Finding(
                ("trusted_proxies",),
                f"trusts everybody (`{network}`): any client can then choose its address",
                "name the networks of your proxies, or `private_ranges`",
                "warning",
            )


def _drain(drain: Data) -> Iterator[Finding]:
    seconds = partial(values.duration, zero=True)
    delay = read(seconds, drain.get("delay", 0))
    spread = read(seconds, drain.get("spread", 10))
    timeout = read(seconds, drain.get("timeout", 25))
    if delay is None or spread is None or timeout is None:
        return
    if delay + spread > timeout:
        yield Finding(
            ("drain", "timeout"),
            "is shorter than `delay` and `spread` together, so sessions are dropped untold",
            f"write at least `{delay + spread:g}s`",
        )


def _addresses(data: Data) -> Iterator[Finding]:
    admin = section(data, "admin")
    public_address = read(values.address, data.get("listen", _LISTEN))
    admin_address = read(values.address, admin.get("listen", _ADMIN_LISTEN))
    open_to_all = admin.get("token") is None and not admin.get("tokens")
    if admin_address is not None and not admin_address.is_loopback and open_to_all:
        yield Finding(
            ("admin", "token"),
            "is missing, and other machines can reach `admin.listen`",
            "set `WSKEEPER_ADMIN_TOKEN` to a long random text, or listen on 127.0.0.1",
        )
    same = admin_address is not None and admin_address == public_address
    if same and getattr(admin_address, "port", None) != 0:
        yield Finding(
            ("admin", "listen"),
            "is the same address as `listen`",
            "give the admin listener one of its own",
        )
    metrics = read(values.address, section(data, "metrics").get("listen"))
    if metrics is not None and getattr(metrics, "port", None) != 0:
        for name, address in (("listen", public_address), ("admin.listen", admin_address)):
            if metrics == address:
                yield Finding(
                    ("metrics", "listen"),
                    f"is the same address as `{name}`",
                    "give it one of its own, or remove it: the admin listener has `/metrics` too",
                )


def _tokens(admin: Data) -> Iterator[Finding]:
    token = admin.get("token")
    if isinstance(token, str) and 0 < len(token) < SHORT_SECRET:
        yield short(("admin", "token"))
    by_name: dict[str, str] = {}
    by_digest: dict[str, str] = {}
    if token is not None:
        by_name[_SOLE_TOKEN] = "admin.token"
    if digest := digest_of(token, None):
        by_digest[digest] = "admin.token"
    for index, entry in entries(admin, "tokens"):
        place = f"admin.tokens[{index}]"
        name, digest = entry.get("name"), digest_of(None, entry.get("sha256"))
        if isinstance(name, str) and (first := by_name.setdefault(name, place)) != place:
            yield Finding(
                ("admin", "tokens", index, "name"),
                f"is also the name of `{first}`",
                "give each token its own",
            )
        if digest and (first := by_digest.setdefault(digest, place)) != place:
            yield Finding(
                ("admin", "tokens", index, "sha256"),
                f"is the digest of `{first}` too",
                "give each its own token, or remove one",
            )
