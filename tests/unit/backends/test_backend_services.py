"""The example services, each as a newcomer meets it: through one WebSocket client."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import WSMsgType

from backends import chat, clock, echo, service

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

every_service = pytest.mark.parametrize("module", [echo, chat, clock], ids=lambda m: m.__name__)


@pytest.mark.parametrize("path", ["/", "/ws", "/a/b?c=d"])
async def test_echo_keeps_text_text_and_binary_binary_at_any_path(aiohttp_client, path):
    client = await aiohttp_client(echo.application())
    async with client.ws_connect(path) as socket:
        await socket.send_str("grüß dich")
        await socket.send_bytes(b"\x00\xff")
        await socket.send_str("")
        answers = [await socket.receive() for _ in range(3)]
    assert [(answer.type, answer.data) for answer in answers] == [
        (WSMsgType.TEXT, "grüß dich"),
        (WSMsgType.BINARY, b"\x00\xff"),
        (WSMsgType.TEXT, ""),
    ]


async def test_echo_negotiates_compression_when_it_is_offered(aiohttp_client):
    client = await aiohttp_client(echo.application())
    async with client.ws_connect("/", compress=15) as socket:
        assert socket.compress
    async with client.ws_connect("/") as socket:
        assert not socket.compress


async def test_echo_takes_a_large_message(aiohttp_client):
    large = os.urandom(1024) * 8 * 1024
    client = await aiohttp_client(echo.application())
    async with client.ws_connect("/", max_msg_size=0) as socket:
        await socket.send_bytes(large)
        assert await socket.receive_bytes() == large


async def test_everybody_in_a_room_hears_the_speaker_by_key_name(aiohttp_client):
    client = await aiohttp_client(chat.application())
    named = {"X-Wskeeper-Key-Name": "ada"}
    async with (
        client.ws_connect("/chat/room1", headers=named) as ada,
        client.ws_connect("/chat/room1") as unnamed,
    ):
        await ada.send_str("hello")
        assert await ada.receive_str() == await unnamed.receive_str() == "ada: hello"
        await unnamed.send_str("hi")
        assert await ada.receive_str() == await unnamed.receive_str() == "anonymous: hi"


async def test_rooms_do_not_hear_each_other(aiohttp_client):
    client = await aiohttp_client(chat.application())
    async with (
        client.ws_connect("/chat/room1") as here,
        client.ws_connect("/chat/room2") as elsewhere,
    ):
        await here.send_str("said here")
        await here.receive_str()
        await elsewhere.send_str("said elsewhere")
        assert await elsewhere.receive_str() == "anonymous: said elsewhere"


async def test_an_empty_room_is_forgotten(aiohttp_client):
    rooms = chat.Chat()
    client = await aiohttp_client(service.application(rooms.join))
    async with client.ws_connect("/gone") as first, client.ws_connect("/gone") as second:
        await first.send_str("hello")
        await second.receive_str()
        await first.close()
        assert set(rooms.rooms) == {"/gone"}
    async with client.ws_connect("/next") as socket:
        # By the time a later visitor is answered, the earlier ones have been seen off.
        await socket.send_str("anybody?")
        await socket.receive_str()
        assert set(rooms.rooms) == {"/next"}


async def test_clock_pushes_the_time_in_rfc3339(aiohttp_client):
    client = await aiohttp_client(clock.application())
    async with client.ws_connect("/") as socket:
        said = [await socket.receive_str() for _ in range(2)]
    assert all(RFC3339.fullmatch(text) for text in said)
    first, second = (datetime.fromisoformat(text) for text in said)
    assert abs(datetime.now(UTC) - second) < timedelta(seconds=5)
    assert timedelta(seconds=0.9) < second - first < timedelta(seconds=2)


async def test_clock_answers_a_close_between_two_ticks(aiohttp_client):
    client = await aiohttp_client(clock.application())
    async with client.ws_connect("/") as socket:
        await socket.receive_str()
        async with asyncio.timeout(0.5):
            await socket.close()
        assert socket.close_code == 1000


@every_service
async def test_stop_says_1001_and_ends_at_once(module):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", module.__name__, "--listen", "127.0.0.1:0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        announced = await asyncio.wait_for(process.stdout.readline(), 10)
        url = announced.decode().split()[-1]
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            await socket.send_str("here")
            await socket.receive_str()
            process.send_signal(signal.SIGTERM)
            while (await socket.receive(timeout=5)).type is WSMsgType.TEXT:
                pass
            assert socket.close_code == 1001
        _, complaints = await asyncio.wait_for(process.communicate(), 5)
        assert (process.returncode, complaints) == (0, b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:9001", ("127.0.0.1", 9001)),
        ("0.0.0.0:9001", ("0.0.0.0", 9001)),
        ("[::1]:0", ("::1", 0)),
    ],
)
def test_listen_address_is_split(address, expected):
    assert service.host_and_port(address) == expected


@pytest.mark.parametrize("address", ["9001", ":9001", "127.0.0.1:", "127.0.0.1:http"])
def test_listen_address_without_host_or_port_is_refused(address, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", type=service.host_and_port)
    with pytest.raises(SystemExit):
        parser.parse_args(["--listen", address])
    assert address in capsys.readouterr().err
