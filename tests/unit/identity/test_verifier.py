"""Tokens and their issuer's keys together: rotation, outage, strangers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from proxy.auth.jwk import KeySet, UnknownKey
from proxy.errors import Refused
from proxy.identity.jwks import QUIET
from proxy.identity.sources import UrlSource
from proxy.identity.verifier import JwtVerifier
from tests.unit.auth.tokens import NOW, SECRET, jwk, jwks, rules, token
from tests.unit.identity.test_jwks import Scene

if TYPE_CHECKING:
    from tests.unit.identity.provider import Provider

ROTATED = token(header={"kid": "k2"}, number=1)
STRANGE = token(header={"kid": "strange"}, number=2)
NAMELESS = token(header={"kid": ...}, number=1)


@pytest.fixture
async def scene(idp: Provider):
    made = Scene(UrlSource(f"{idp.url}/jwks"))
    yield made
    await made.keeper.close()


@pytest.fixture
def verifier(scene: Scene) -> JwtVerifier:
    return JwtVerifier(rules(), scene.keeper, lambda: NOW)


async def refusal(verifier: JwtVerifier, made: bytes) -> str:
    with pytest.raises(Refused) as caught:
        await verifier.verify(made)
    assert caught.value.detail
    return caught.value.code


async def test_token_is_verified_at_once_with_keys_at_hand(
    idp: Provider, scene: Scene, verifier: JwtVerifier
) -> None:
    await scene.keeper.refreshed()
    assert verifier.is_ours(token())
    assert not verifier.is_ours(b"wsk_abc")
    assert verifier.verify_now(token()).subject == "ada"
    assert (await verifier.verify(token())).subject == "ada"
    assert len(idp.requests) == 1


async def test_first_token_waits_for_the_first_keys(
    idp: Provider, scene: Scene, verifier: JwtVerifier
) -> None:
    with pytest.raises(UnknownKey):
        verifier.verify_now(token())
    scene.keeper.start()
    assert (await verifier.verify(token())).subject == "ada"
    assert len(idp.requests) == 1


@pytest.mark.parametrize("made", [ROTATED, NAMELESS])
async def test_token_of_a_new_key_is_accepted(
    idp: Provider, scene: Scene, verifier: JwtVerifier, made: bytes
) -> None:
    await scene.keeper.refreshed()
    idp.pages["/jwks"] = jwks(jwk("RS256"), jwk("RS256", 1, kid="k2"))
    with pytest.raises(UnknownKey):
        verifier.verify_now(made)
    await scene.pass_time(QUIET)
    assert (await verifier.verify(made)).subject == "ada"
    assert verifier.verify_now(made).subject == "ada"
    assert len(idp.requests) == 2


async def test_storm_of_strange_tokens_is_refused_for_one_fetch(
    idp: Provider, scene: Scene, verifier: JwtVerifier
) -> None:
    await scene.keeper.refreshed()
    await scene.pass_time(QUIET)
    strange = [token(header={"kid": f"strange{number}"}) for number in range(50)]
    codes = await asyncio.gather(*(refusal(verifier, made) for made in strange))
    assert set(codes) == {"token_invalid"}
    assert len(idp.requests) == 2


async def test_invalid_token_causes_no_fetch(
    idp: Provider, scene: Scene, verifier: JwtVerifier
) -> None:
    await scene.keeper.refreshed()
    await scene.pass_time(QUIET)
    for wrong in (token(exp=NOW - 60), token(number=1), token(aud="others"), b"a.b.c"):
        assert await refusal(verifier, wrong) == "token_invalid"
    assert len(idp.requests) == 1


async def test_without_keys_nobody_enters(
    idp: Provider, scene: Scene, verifier: JwtVerifier
) -> None:
    idp.pages.clear()
    assert await refusal(verifier, token()) == "store_unavailable"
    assert await refusal(verifier, STRANGE) == "store_unavailable"
    assert len(idp.requests) == 1
    # What is wrong under any key is told.
    assert await refusal(verifier, b"a.b.c") == "token_invalid"
    assert await refusal(verifier, token(exp=NOW - 60)) == "token_invalid"


async def test_nobody_enters_once_the_keys_are_let_go(
    idp: Provider, scene: Scene, verifier: JwtVerifier
) -> None:
    await scene.keeper.close()
    assert await refusal(verifier, token()) == "store_unavailable"
    assert not idp.requests


async def test_outage_admits_known_keys_and_cannot_tell_of_others(
    idp: Provider, scene: Scene, verifier: JwtVerifier
) -> None:
    await scene.keeper.refreshed()
    idp.pages.clear()
    await scene.pass_time(QUIET)
    assert await refusal(verifier, STRANGE) == "store_unavailable"
    assert (await verifier.verify(token())).subject == "ada"
    assert await refusal(verifier, token(exp=NOW - 60)) == "token_invalid"


async def test_clock_is_read_for_every_token(scene: Scene) -> None:
    now = [NOW]
    verifier = JwtVerifier(rules(), scene.keeper, lambda: now[0])
    assert await verifier.verify(token())
    now[0] += 10_000
    assert await refusal(verifier, token()) == "token_invalid"


@pytest.mark.parametrize(
    ("keys", "algorithm"),
    [
        (KeySet.of_secret(SECRET, {"HS256"}), "HS256"),
        (KeySet.of_jwks(jwks(jwk("RS256")), {"RS256"}), "RS256"),
    ],
)
async def test_keys_that_stay_are_used_as_they_are(keys: KeySet, algorithm: str) -> None:
    verifier = JwtVerifier(rules(algorithm), keys, lambda: NOW)
    good: Any = token(algorithm)
    assert verifier.verify_now(good) == await verifier.verify(good)
    forged = token(algorithm, header={"kid": "strange"}, key=None if algorithm > "R" else b"x" * 64)
    assert await refusal(verifier, forged) == "token_invalid"
