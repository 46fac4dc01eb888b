"""Keys and sessions in any order: no session outlives its key, and every book agrees."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from tests.property.household import AT_ONCE, ROUTES, Household, Session

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.timeout(180)

# Past secrets of a key that it still knows, the present one included.
REMEMBERED = 10
WAYS = st.one_of(st.none(), st.lists(st.sampled_from(ROUTES), min_size=1, unique=True))
LIMITS = st.one_of(st.none(), st.integers(1, 2))
PICK = st.integers(0, 1 << 16)


@dataclass(eq=False)
class ModelKey:
    """What a key should be."""

    id: str
    name: str
    routes: list[str] | None
    limit: int | None
    # Newest first; whether each still opens anything.
    secrets: dict[str, bool]
    revoked: bool = False
    expired: bool = False
    suspended: bool = False
    deleted: bool = False

    @property
    def state(self) -> str:
        if self.revoked:
            return "revoked"
        if self.expired:
            return "expired"
        return "suspended" if self.suspended else "active"

    def objection(self, secret: str, route: str) -> str | None:
        """Why a session with that secret may not be."""
        if self.deleted:
            return "key_revoked"
        if self.state != "active":
            return f"key_{self.state}"
        if not self.secrets[secret]:
            return "key_expired"
        return "route_forbidden" if self.routes and route not in self.routes else None


@dataclass(eq=False)
class Held:
    """A live session and what opened it."""

    session: Session
    key: ModelKey
    secret: str


@dataclass
class Spent:
    """What a key was used for."""

    connections: int = 0
    messages: int = 0
    bytes: list[int] = field(default_factory=lambda: [0, 0])


class Keys(RuleBasedStateMachine):
    """Operators and clients around one gateway."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.house = Household(Path(self.folder.name))
        self.keys: list[ModelKey] = []
        self.held: list[Held] = []
        self.spent: dict[str, Spent] = {}

    def teardown(self) -> None:
        try:
            self.end_all()
            self.house.stop()
            self.compare_usage()
            secrets = [secret for key in self.keys for secret in key.secrets]
            assert not [secret for secret in secrets if secret in self.house.log]
            assert '"level":"error"' not in self.house.log
        finally:
            self.house.close()
            self.folder.cleanup()

    # What the model keeps ------------------------------------------------------------------

    def do(self, method: str, path: str, body: object = None) -> dict:
        status, said = self.house.run(self.house.api(method, path, body))
        assert status < 300, (status, said)
        return said

    def asked(self, key: ModelKey, verb: str, body: object = None) -> dict | None:
        """What is answered, or None when the key's state forbids it."""
        path = f"/keys/{key.id}/{verb}"
        status, said = self.house.run(self.house.api("POST", path, body))
        assert status == 200 or (status == 409 and key.state in {"revoked", "expired"}), said
        return said if status == 200 else None

    def living(self) -> list[ModelKey]:
        return [key for key in self.keys if not key.deleted]

    def some_key(self, pick: int) -> ModelKey:
        living = self.living()
        return living[pick % len(living)]

    def kept(self, made: dict, secret: str, routes: list[str] | None, limit: int | None) -> None:
        self.keys.append(ModelKey(made["id"], made["name"], routes, limit, {secret: True}))
        self.spent[made["id"]] = Spent()

    def settle(self, key: ModelKey) -> None:
        """The sessions that the key no longer carries are closed, within a second."""
        began = time.monotonic()
        for held in [held for held in self.held if held.key is key]:
            objection = key.objection(held.secret, held.session.route)
            if objection is not None:
                self.house.run(held.session.hear_close(1008, objection))
                self.held.remove(held)
        assert time.monotonic() - began < AT_ONCE

    def end_all(self) -> None:
        for held in self.held:
            self.house.run(held.session.say_close())
        self.held.clear()

    def compare_usage(self) -> None:
        """The file says what the model says; a Close of either side may be among the bytes."""
        found: dict[str, Spent] = {}
        for row in self.house.usage():
            spent = found.setdefault(row.key_id, Spent())
            spent.connections += row.connections
            spent.bytes = [a + b for a, b in zip(spent.bytes, row.bytes, strict=True)]
            assert row.messages[0] == row.messages[1]
            spent.messages += row.messages[0]
        for key_id, spent in self.spent.items():
            told = found.pop(key_id, Spent())
            assert (told.connections, told.messages) == (spent.connections, spent.messages)
            for said, at_least in zip(told.bytes, spent.bytes, strict=True):
                assert at_least <= said <= at_least + 40 * spent.connections
        assert not found

    # What operators do ---------------------------------------------------------------------

    @rule(routes=WAYS, limit=LIMITS)
    def create(self, routes: list[str] | None, limit: int | None) -> None:
        name = f"key-{len(self.keys)}"
        body = {"name": name, "routes": routes, "limits": {"connections": limit}}
        made = self.do("POST", "/keys", body)
        self.kept(made, made["secret"], routes, limit)

    @rule(routes=WAYS)
    def bring_along(self, routes: list[str] | None) -> None:
        number = len(self.keys)
        secret = f"a-secret-of-elsewhere-{number}"
        body = {"name": f"key-{number}", "secret": secret, "routes": routes}
        self.kept(self.do("POST", "/keys", body), secret, routes, None)

    @precondition(lambda self: self.living())
    @rule(pick=PICK, overlap=st.sampled_from(["0", "50ms", "1h", "1h"]))
    def rotate(self, pick: int, overlap: str) -> None:
        key = self.some_key(pick)
        status, said = self.house.run(
            self.house.api("POST", f"/keys/{key.id}/rotate", {"overlap": overlap})
        )
        if status == 409:
            assert key.state in {"revoked", "expired"} or sum(key.secrets.values()) >= 5
            return
        assert status == 200, said
        past = {secret: good and overlap == "1h" for secret, good in key.secrets.items()}
        key.secrets = dict(list({said["secret"]: True, **past}.items())[:REMEMBERED])
        if overlap == "50ms":
            self.house.run(asyncio.sleep(0.06))
        self.settle(key)

    @precondition(lambda self: self.living())
    @rule(pick=PICK)
    def suspend(self, pick: int) -> None:
        key = self.some_key(pick)
        if self.asked(key, "suspend"):
            key.suspended = True
        self.settle(key)

    @precondition(lambda self: self.living())
    @rule(pick=PICK)
    def resume(self, pick: int) -> None:
        key = self.some_key(pick)
        if self.asked(key, "resume"):
            key.suspended = False

    @precondition(lambda self: self.living())
    @rule(pick=PICK)
    def revoke(self, pick: int) -> None:
        key = self.some_key(pick)
        self.do("POST", f"/keys/{key.id}/revoke")
        key.revoked = True
        self.settle(key)

    @precondition(lambda self: self.living())
    @rule(pick=PICK)
    def expire(self, pick: int) -> None:
        key = self.some_key(pick)
        self.do("PATCH", f"/keys/{key.id}", {"expires_in": "50ms"})
        self.house.run(asyncio.sleep(0.06))
        key.expired = True
        self.settle(key)

    @precondition(lambda self: self.living())
    @rule(pick=PICK)
    def give_more_time(self, pick: int) -> None:
        key = self.some_key(pick)
        self.do("PATCH", f"/keys/{key.id}", {"expires_in": "1h"})
        key.expired = False

    @precondition(lambda self: self.living())
    @rule(pick=PICK, routes=WAYS)
    def bind(self, pick: int, routes: list[str] | None) -> None:
        key = self.some_key(pick)
        self.do("PATCH", f"/keys/{key.id}", {"routes": routes})
        key.routes = routes
        self.settle(key)

    @precondition(lambda self: self.living())
    @rule(pick=PICK)
    def delete(self, pick: int) -> None:
        key = self.some_key(pick)
        assert self.house.run(self.house.api("DELETE", f"/keys/{key.id}"))[0] == 204
        key.deleted = True
        self.settle(key)

    @rule()
    def restart(self) -> None:
        self.house.stop()
        for held in self.held:
            self.house.run(held.session.hear_close(1001, "draining"))
        self.held.clear()
        self.compare_usage()
        self.house.start()

    # What clients do -----------------------------------------------------------------------

    @precondition(lambda self: self.keys)
    @rule(pick=PICK, which=PICK, route=st.sampled_from(ROUTES))
    def connect(self, pick: int, which: int, route: str) -> None:
        key = self.keys[pick % len(self.keys)]
        secret = list(key.secrets)[which % len(key.secrets)]
        expected = "key_unknown" if key.deleted else key.objection(secret, route)
        if expected is None and key.limit is not None:
            live = sum(held.key is key for held in self.held)
            expected = "key_connections" if live >= key.limit else None
        answer = self.house.run(self.house.connect(secret, route))
        if isinstance(answer, str):
            assert answer == expected
            return
        self.held.append(Held(answer, key, secret))
        self.spent[key.id].connections += 1
        assert expected is None

    @precondition(lambda self: self.keys)
    @rule(pick=PICK, route=st.sampled_from(ROUTES))
    def connect_with_the_newest(self, pick: int, route: str) -> None:
        self.connect(pick, 0, route)

    @precondition(lambda self: self.held)
    @rule(pick=PICK, politely=st.booleans())
    def close(self, pick: int, *, politely: bool) -> None:
        held = self.held.pop(pick % len(self.held))
        session = held.session
        self.house.run(session.say_close() if politely else session.leave())
        self.house.run(self.agreement())  # A place in a limit is free once it is seen to be.

    # What holds ----------------------------------------------------------------------------

    @invariant()
    def every_session_carries_messages(self) -> None:
        for held in self.held:
            assert held.key.objection(held.secret, held.session.route) is None
            text = b"still here"
            self.house.run(held.session.talk(text))
            spent = self.spent[held.key.id]
            spent.messages += 1
            spent.bytes = [spent.bytes[0] + 6 + len(text), spent.bytes[1] + 2 + len(text)]

    @invariant()
    def metrics_count_the_sessions(self) -> None:
        self.house.run(self.agreement())

    async def agreement(self) -> None:
        """Waits until the gateway has as many sessions as the model, for a second."""
        counted = Counter(held.session.route for held in self.held)
        expected = {route: float(counted[route]) for route in ROUTES}
        deadline = time.monotonic() + AT_ONCE
        while (found := await self.house.connections()) != expected:
            assert time.monotonic() < deadline, (found, expected)
            await asyncio.sleep(0.01)

    @invariant()
    def the_api_tells_the_state(self) -> None:
        listed = self.do("GET", "/keys")["keys"]
        told = {key["id"]: key["state"] for key in listed}
        assert told == _states(self.living())


def _states(keys: Iterable[ModelKey]) -> dict[str, str]:
    return {key.id: key.state for key in keys}


TestKeys = Keys.TestCase
TestKeys.settings = settings(
    max_examples=settings.default.max_examples // 3,
    stateful_step_count=20,
    deadline=None,
    # Shrinking would wait a second for every Close that does not come.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
