"""What operators should see to, as the overview says it: what is, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from proxy.console.figures import count, plural, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Share of a limit from which it is worth a word.
NEAR: Final = 0.9

# Targets and routes that are named one by one.
_NAMED: Final = 3


class Warning(NamedTuple):  # noqa: A001 - nothing here warns in Python's sense
    """One thing to see to.

    Args:
        weight: `bad` where clients suffer now, else `warn`.
        what: a sentence or two.
        href, link: where it can be done, and how that is called; empty for nowhere.
    """

    weight: Literal["bad", "warn"]
    what: str
    href: str = ""
    link: str = ""


class Standing(NamedTuple):
    """What of a gateway there may be warnings about.

    Args:
        store, store_up, store_grace: where the keys are kept, whether it answers, and for how many
            seconds the keys in memory serve while it does not.
        sessions, limit: how many live sessions there are and may be; None for no limit.
        usable, expiring: keys that let somebody in, and those of them that end within a week.
        needs_keys: whether a route asks for keys, and nothing but keys lets anybody in.
        open_routes: routes that only report whom they would refuse.
        targets: every target, as (route, target, whether it answers).
        rejected: whether the configuration was last read without use.
    """

    draining: bool
    store: str
    store_up: bool
    store_grace: float
    sessions: int
    limit: int | None
    usable: int
    expiring: int
    needs_keys: bool
    open_routes: Sequence[str]
    targets: Sequence[tuple[str, str, bool]]
    rejected: bool


def warnings(now: Standing) -> list[Warning]:
    """What to see to, the worst first."""
    found = [*_trouble(now), *_limits(now), *_keys(now)]
    return sorted(found, key=lambda one: one.weight)  # `bad` comes before `warn`.


def _trouble(now: Standing) -> Iterator[Warning]:
    if now.draining:
        yield Warning(
            "bad",
            "This gateway is going away: it takes no new connections, and "
            f"{plural(now.sessions, 'session')} {'is' if now.sessions == 1 else 'are'} left.",
        )
    if not now.store_up:
        yield Warning(
            "bad",
            f"The store {now.store} does not answer. Keys in memory serve for "
            f"{span(now.store_grace)}; then nobody new gets in. See that the store is there and "
            "that this gateway may write to it; it is asked again every few seconds.",
            "/events?event=store_down",
            "Events",
        )
    yield from _upstreams(now)
    if now.rejected:
        yield Warning(
            "warn",
            "The configuration on disk was rejected, and the one in force stays. `wskeeper check` "
            "says what to mend; then reload.",
            "/events?event=config_rejected",
            "What is wrong with it",
        )
    if now.open_routes:
        yield Warning(
            "warn",
            f"{_few(now.open_routes)} {'lets' if len(now.open_routes) == 1 else 'let'} everybody "
            "in and only reports (`auth: report_only`). Set `auth: required` once nobody would be "
            "refused who should not be.",
            "/routes",
            "Routes",
        )


def _upstreams(now: Standing) -> Iterator[Warning]:
    down = [target for _, target, up in now.targets if not up]
    alive = {route for route, _, up in now.targets if up}
    dead = list(dict.fromkeys(route for route, _, _ in now.targets if route not in alive))
    if not down:
        return
    verb = "does" if len(down) == 1 else "do"
    said = f"{count(len(down))} of {plural(len(now.targets), 'target')} {verb} not answer"
    if dead:
        said += f", so {_few(dead)} {'refuses' if len(dead) == 1 else 'refuse'} everybody"
    yield Warning(
        "bad" if dead else "warn",
        f"{said}: {_few(down)}. See that the service runs and that this machine reaches it.",
        "/routes",
        "Routes",
    )


def _limits(now: Standing) -> Iterator[Warning]:
    if now.limit is not None and now.sessions >= now.limit * NEAR:
        full = now.sessions >= now.limit
        yield Warning(
            "bad" if full else "warn",
            f"{count(now.sessions)} of {count(now.limit)} places are taken"
            f"{', so new clients are refused' if full else ''}. Raise `limits.total_connections`, "
            "or put another gateway beside this one.",
            "/connections?sort=-age",
            "Connections",
        )


def _keys(now: Standing) -> Iterator[Warning]:
    if now.needs_keys and not now.usable:
        yield Warning(
            "bad",
            "No key lets anybody in, and routes ask for one. Create a key and hand its secret to "
            "a client.",
            "/new-key",
            "Create a key",
        )
    if now.expiring:
        yield Warning(
            "warn",
            f"{plural(now.expiring, 'key')} {'ends' if now.expiring == 1 else 'end'} within a "
            "week, and live sessions with it. Move the day, or give the client a new key.",
            "/keys?state=active&sort=expires",
            "Keys",
        )


def _few(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    shown = ", ".join(names[:_NAMED])
    return shown if rest <= 0 else f"{shown} and {count(rest)} more"
