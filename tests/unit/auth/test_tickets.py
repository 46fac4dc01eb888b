"""What a ticket stands for, as a store keeps it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from proxy.auth.tickets import Ticket

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    key_id=st.none() | TEXT,
    digest=st.binary(max_size=32),
    subject=st.none() | TEXT,
    metadata=st.dictionaries(TEXT, TEXT, max_size=3),
    origin=st.none() | st.binary(max_size=20),
    until=st.none() | st.floats(0, 1e10),
)
def test_ticket_comes_back_as_it_was_kept(
    key_id: str | None,
    digest: bytes,
    subject: str | None,
    metadata: dict[str, str],
    origin: bytes | None,
    until: float | None,
) -> None:
    ticket = Ticket(key_id, digest, "chat", "session", subject, metadata, origin, until)
    assert Ticket.read(ticket.text()) == ticket
    # What is kept is ASCII, whatever it holds.
    json.loads(ticket.text().encode("ascii"))


def test_tickets_count_for_their_key_or_else_their_subject() -> None:
    assert Ticket("one", b"", "chat", "s", "ada").holder == "key:one"
    assert Ticket(None, b"", "chat", "s", "ada").holder == "subject:ada"
    # Nobody can be taken for somebody else.
    assert Ticket(None, b"", "chat", "s", "key:one").holder != Ticket("one", b"", "c", "s").holder
