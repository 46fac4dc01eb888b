"""What is asked about a handshake: nothing of it may be shown."""

from __future__ import annotations

import pytest

from proxy.auth.question import NotAtOnce
from tests.unit.auth.asked import NOW, question


def test_question_holds_what_decides() -> None:
    asked = question("X-Api-Key: abc", route="other", query=b"?a=b")
    assert (asked.route, asked.origin, asked.now) == ("other", None, NOW)
    assert asked.presented.query == b"?a=b"
    assert asked.presented.headers.all(b"x-api-key") == [b"abc"]


def test_not_at_once_says_nothing() -> None:
    with pytest.raises(NotAtOnce) as caught:
        raise NotAtOnce
    assert str(caught.value) == ""
