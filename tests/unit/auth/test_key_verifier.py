"""Keys checked: the whole table of refusals, and what they are while the store is away."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest

from proxy.auth import key_verifier
from proxy.auth.key_verifier import KeyVerifier
from proxy.errors import KEY_OBJECTIONS, Refused
from proxy.keys.key import Key, Secret, digest_of
from proxy.keys.lifecycle import rotated
from proxy.keys.principal import NOBODY
from proxy.keys.ring import KeyRing
from tests.unit.auth.asked import NOW, Trust, question

if TYPE_CHECKING:
    from proxy.auth.question import Question

SECRET, NEW = b"CANARY-good-4f1a9c0d7e6b", b"CANARY-new-4f1a9c0d7e6b"
FIXED_SECRET = b"CANARY-fixed-4f1a9c0d7e6b"
KEY = Key("one", "name of one", (Secret(digest_of(SECRET)),))
FIXED = Key("fixed", "fixed", (Secret(digest_of(FIXED_SECRET)),))

REFUSED: dict[str, dict[str, Any]] = {
    "key_revoked": {"revoked_at": NOW},
    "key_expired": {"expires_at": NOW},
    "key_suspended": {"suspended_at": NOW},
    "route_forbidden": {"routes": frozenset({"other"})},
    "origin_forbidden": {"origins": frozenset({b"https://other.test"})},
    "address_forbidden": {"allow": (ip_network("198.51.100.0/24"),)},
}


class Rig:
    """A verifier, the keys it knows and the store behind them."""

    def __init__(self, **fields: Any) -> None:
        self.trust = Trust()
        self.ring = KeyRing([FIXED])
        self.ring.put("one", replace(KEY, **fields))
        self.verifier = KeyVerifier(self.ring, self.trust)

    def refusal(self, credential: bytes = SECRET, asked: Question | None = None) -> Refused:
        with pytest.raises(Refused) as caught:
            self.verifier.verify(credential, asked or question(origin=b"https://app.test"))
        return caught.value


def test_known_key_is_its_holder() -> None:
    rig = Rig(metadata={"plan": "gold"})
    holder = rig.verifier.verify(SECRET, question())
    assert (holder.auth, holder.key_id, holder.digest) == ("api_key", "one", digest_of(SECRET))
    assert b"X-Wskeeper-Meta-plan: gold" in holder.headers
    assert rig.verifier.verify(FIXED_SECRET, question()).key is FIXED


@pytest.mark.parametrize("code", REFUSED)
def test_key_is_refused_with_its_code_and_a_mend(code: str) -> None:
    refused = Rig(**REFUSED[code]).refusal()
    assert refused.code == code
    assert refused.detail.startswith(("The key you sent", "Your key is valid, but not"))
    assert refused.cause is None
    assert refused.key_id == "one"


def test_every_objection_is_tried() -> None:
    assert set(REFUSED) == set(KEY_OBJECTIONS) == set(key_verifier._DETAILS)


@pytest.mark.parametrize("code", REFUSED)
def test_only_who_has_the_secret_is_told_of_the_key(code: str) -> None:
    assert Rig(**REFUSED[code]).refusal(SECRET[:-1]).code == "key_unknown"


def test_former_secret_opens_until_its_end() -> None:
    rig = Rig()
    rig.ring.put("one", rotated(KEY, digest_of(NEW), NOW, 10))
    for now, credential in ((NOW, SECRET), (NOW, NEW), (NOW + 9.9, SECRET), (NOW + 10, NEW)):
        holder = rig.verifier.verify(credential, question(now=now))
        assert (holder.key_id, holder.digest) == ("one", digest_of(credential))
    assert rig.refusal(SECRET, question(now=NOW + 10)).code == "key_expired"


def test_change_of_a_key_counts_from_the_next_handshake_on() -> None:
    rig = Rig()
    assert rig.verifier.verify(SECRET, question()).key_name == "name of one"
    rig.ring.put("one", replace(KEY, name="renamed"))
    holder = rig.verifier.verify(SECRET, question())
    assert holder.key_name == "renamed"
    assert b"X-Wskeeper-Key-Name: renamed" in holder.headers
    rig.ring.put("one", None)
    assert rig.refusal().code == "key_unknown"


def test_principal_is_made_once_and_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_verifier, "_REMEMBERED", 2)
    rig = Rig()
    first = rig.verifier.verify(SECRET, question())
    assert rig.verifier.verify(SECRET, question()) is first
    rig.verifier.verify(FIXED_SECRET, question())
    assert rig.verifier.verify(SECRET, question()) is first
    rig.ring.put("two", Key("two", "two", (Secret(digest_of(NEW)),)))
    rig.verifier.verify(NEW, question())
    assert rig.verifier.verify(SECRET, question()) == first
    assert len(rig.verifier._principals) <= 2


# The store is away ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("up", "fresh", "credential", "code"),
    [
        (True, True, b"unknown", "key_unknown"),
        # It may have been made meanwhile: nobody can say that it is unknown.
        (False, True, b"unknown", "store_unavailable"),
        (False, False, b"unknown", "store_unavailable"),
        (False, True, SECRET, None),
        # It may have been revoked meanwhile.
        (False, False, SECRET, "store_unavailable"),
        (False, True, FIXED_SECRET, None),
        (False, False, FIXED_SECRET, None),
    ],
)
def test_keys_while_the_store_is_away(
    *, up: bool, fresh: bool, credential: bytes, code: str | None
) -> None:
    rig = Rig()
    rig.trust.up, rig.trust.fresh = up, fresh
    if code is None:
        assert rig.verifier.verify(credential, question()).key is not None
    else:
        refused = rig.refusal(credential)
        assert (refused.code, refused.headers, refused.cause) == (code, (), None)


def test_refused_key_stays_refused_during_the_grace() -> None:
    rig = Rig(revoked_at=NOW)
    rig.trust.up = False
    assert rig.refusal().code == "key_revoked"


# Once more -----------------------------------------------------------------------------------


def again(rig: Rig, **fields: Any) -> str | None:
    holder = Rig().verifier.verify(SECRET, question())
    asked = question(origin=b"https://app.test", **fields)
    found = rig.verifier.objection(
        holder, asked.now, route=asked.route, origin=asked.origin, address=asked.address
    )
    if found is None:
        rig.verifier.check_again(holder, asked)
    else:
        with pytest.raises(Refused) as caught:
            rig.verifier.check_again(holder, asked)
        assert caught.value.code == found
    return found


@pytest.mark.parametrize("code", REFUSED)
def test_holder_is_judged_by_the_key_as_it_is_now(code: str) -> None:
    assert again(Rig(**REFUSED[code])) == code


def test_holder_of_a_deleted_or_replaced_secret_is_out() -> None:
    rig = Rig()
    assert again(rig) is None
    rig.ring.put("one", replace(KEY, secrets=(Secret(digest_of(NEW)),)))
    assert again(rig) == "key_revoked"
    rig.ring.put("one", None)
    assert again(rig) == "key_revoked"


def test_holder_of_a_rotated_secret_stays_for_the_overlap() -> None:
    rig = Rig()
    rig.ring.put("one", rotated(KEY, digest_of(NEW), NOW, 10))
    assert again(rig) is None
    assert again(rig, now=NOW + 10) == "key_expired"


def test_holder_may_be_on_another_route_from_elsewhere() -> None:
    rig = Rig(routes=frozenset({"chat"}), allow=(ip_network("192.0.2.0/24"),))
    assert again(rig) is None
    assert again(rig, route="other") == "route_forbidden"
    assert again(rig, address=ip_address("::1")) == "address_forbidden"


def test_nobody_has_no_key_to_be_judged_by() -> None:
    rig = Rig()
    rig.ring.put("one", None)
    asked = question()
    rig.verifier.check_again(NOBODY, asked)
    where = {"route": asked.route, "origin": asked.origin, "address": asked.address}
    assert rig.verifier.objection(NOBODY, asked.now, **where) is None


def test_revision_grows_when_holders_are_to_be_judged_anew() -> None:
    rig = Rig()
    before = rig.verifier.ring.revision
    rig.verifier.verify(SECRET, question())
    assert rig.verifier.ring.revision == before
    rig.ring.put("one", None)
    assert rig.verifier.ring.revision > before


def test_value_is_ours_by_its_form_or_because_it_is_known() -> None:
    verifier = Rig().verifier
    for value, ours, known in (
        (SECRET, True, True),
        (FIXED_SECRET, True, True),
        (b"wsk_", True, False),
        (b"wsk", False, False),
        (b"eyJ.x.y", False, False),
        (b"", False, False),
    ):
        assert (verifier.is_ours(value), verifier.knows(value)) == (ours, known)


def test_nothing_of_a_secret_stands_in_a_refusal() -> None:
    for fields in REFUSED.values():
        refused = Rig(**fields).refusal()
        assert "CANARY" not in repr((refused.args, refused.detail, refused.headers, refused.cause))
