"""The ways in that a configuration opens."""

from __future__ import annotations

import json
from typing import Any

from proxy.auth.browser_carriers import (
    CookieCarrier,
    QueryCarrier,
    SubprotocolCarrier,
    TicketCarrier,
)
from proxy.auth.carriers import BearerCarrier, HeaderCarrier
from proxy.auth.ways import Ways, ways_of
from proxy.relay.first_message_rule import GRAPHQL_WS
from tests.unit.build import config


def ways(*carriers: Any) -> Ways:
    made = config({"carriers": list(carriers)})
    return ways_of(made.carriers_of(made.routes[0]))


def test_each_carrier_stands_for_one_place_in_its_order() -> None:
    made = ways(
        {"header": "X-Token"},
        "bearer",
        {"query": "api_key"},
        {"cookie": "session"},
        "subprotocol",
        "ticket",
    )
    assert made.carriers == (
        HeaderCarrier(b"X-Token"),
        BearerCarrier(),
        QueryCarrier(b"api_key"),
        CookieCarrier(b"session"),
        SubprotocolCarrier(),
        TicketCarrier(),
    )
    assert made.first_message is None
    assert made.challenge == (
        'ApiKey realm="wskeeper", header="X-Token", '
        'Bearer realm="wskeeper", '
        'ApiKey realm="wskeeper", query="api_key", '
        'ApiKey realm="wskeeper", cookie="session", '
        'ApiKey realm="wskeeper", subprotocol="wskeeper.key.<key>", '
        'Ticket realm="wskeeper", query="wskeeper_ticket", '
        'subprotocol="wskeeper.ticket.<ticket>"'
    )


def test_ordinary_request_is_told_of_the_ways_that_it_can_take() -> None:
    made = ways({"header": "X-Token"}, "subprotocol", "ticket", "bearer", "first_message")
    assert made.ordinary_challenge == (
        'ApiKey realm="wskeeper", header="X-Token", Bearer realm="wskeeper"'
    )
    assert ways("ticket", "first_message").ordinary_challenge == 'ApiKey realm="wskeeper"'


def test_first_message_is_no_place_of_a_request() -> None:
    made = ways("first_message", "bearer")
    assert made.carriers == (BearerCarrier(),)
    rule = made.first_message
    assert rule is not None
    assert (dict(rule.match), rule.token) == ({"type": "auth"}, ("token",))
    assert json.loads(rule.reply or b"") == {"type": "auth_ok"}
    assert (rule.forward, rule.max_size) == (False, 16_384)
    assert made.challenge == 'Bearer realm="wskeeper", FirstMessage realm="wskeeper"'


def test_first_message_is_as_described() -> None:
    rule = ways(
        {
            "first_message": {
                "match": {"op": 2},
                "token": "d.token",
                "reply": None,
                "forward": True,
                "max_size": "4KiB",
            }
        }
    ).first_message
    assert rule is not None
    assert (dict(rule.match), rule.token) == ({"op": 2}, ("d", "token"))
    assert (rule.reply, rule.forward, rule.max_size) == (None, True, 4096)


def test_graphql_ws_is_a_name_for_its_rule() -> None:
    assert ways({"first_message": "graphql-ws"}).first_message == GRAPHQL_WS
