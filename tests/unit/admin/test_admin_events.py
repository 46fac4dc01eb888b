"""Events through the API: pages for scripts, and streams whose slow readers are dropped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import Any

import pytest

from proxy.admin import stream as streams
from proxy.events import MOST_BEHIND
from tests.unit.admin.scene import NOW, TOKENS

EVENTS = "/api/v1/events"
STREAM = "text/event-stream"
BORN = int(NOW * 1e6)


class Reader:
    """Follows the events; each of its questions runs the scene's loop."""

    def __init__(self, scene, query="", *lines, room=None, version="1.1"):
        self._scene = scene
        sock = socket.socket()
        if room is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        sock.connect(("127.0.0.1", scene.port))
        self._run = scene.loop.run_until_complete
        # Nothing beyond one small read is taken from a socket that nobody asks.
        self._reader, self._writer = self._run(asyncio.open_connection(sock=sock, limit=1024))
        head = [f"GET {EVENTS}{query} HTTP/{version}", "Host: localhost"]
        head += [f"Authorization: Bearer {scene.token}", *lines]
        self._writer.write("\r\n".join([*head, "", ""]).encode())
        self._text = ""

    def head(self):
        return self._run(asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 5)).decode()

    async def _next(self):
        while "\n\n" not in self._text:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            if size == 0:
                raise EOFError
            self._text += (await self._reader.readexactly(size + 2))[:-2].decode()
        frame, _, self._text = self._text.partition("\n\n")
        return frame

    def frame(self):
        """The next frame: its fields by name; a comment's name is empty."""
        text = self._run(asyncio.wait_for(self._next(), 5))
        fields: dict[str, Any] = {}
        for line in text.splitlines():
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        if "data" in fields:
            fields["data"] = json.loads(fields["data"])
        return fields

    def names(self, count):
        return [self.frame()["event"] for _ in range(count)]

    def begin(self):
        """Reads what comes before any event."""
        head = self.head()
        assert self.frame() == {"retry": "2000"}
        return head

    def rest(self):
        """All that still comes until the connection ends."""
        with contextlib.suppress(ConnectionError):
            return self._run(asyncio.wait_for(self._reader.read(), 5))
        return b""

    def leave(self):
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            self._run(self._writer.wait_closed())


@pytest.fixture
def follow(scene):
    readers = []

    def follow(query="", *lines, **how):
        readers.append(Reader(scene, query, *lines, **how))
        return readers[-1]

    yield follow
    for reader in readers:
        reader.leave()


def note(scene, *names, **fields):
    for name in names:
        scene.events.note("info", name, fields)


def until(scene, question):
    """Runs the scene until something is so."""

    end = scene.loop.time() + 5
    while not question():
        assert scene.loop.time() < end, "it did not come about"
        scene.loop.run_until_complete(asyncio.sleep(0.001))


class TestPages:
    def test_an_event_looks_as_in_the_log(self, scene):
        scene.now += 0.1234
        scene.events.note("warning", "limited", {"route": "chat", "value": 5, "odd": {1}})
        assert scene.ask("GET", f"{EVENTS}?format=json").data == {
            "events": [
                {
                    "id": BORN + 1,
                    "ts": "2027-01-15T08:00:00.123Z",
                    "level": "warning",
                    "event": "limited",
                    "route": "chat",
                    "value": 5,
                    "odd": "{1}",
                }
            ],
            "next_before": None,
        }

    def test_pages_go_back(self, scene):
        note(scene, "a", "b", "c")
        first = scene.ask("GET", f"{EVENTS}?format=json&limit=2").data
        assert [event["event"] for event in first["events"]] == ["c", "b"]
        query = f"?format=json&limit=2&before={first['next_before']}"
        last = scene.ask("GET", EVENTS + query).data
        assert [event["event"] for event in last["events"]] == ["a"]
        assert last["next_before"] is None

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("event=b", ["b"]),
            ("event=a,c", ["c", "a"]),
            ("route=chat", ["a"]),
            ("key=legacy", ["b"]),
            ("key=gone-id", ["c"]),
            ("key=nobody", []),
            ("request_id=r1&route=chat", ["a"]),
        ],
    )
    def test_events_are_chosen_by_filters(self, scene, query, found):
        note(scene, "a", route="chat", request_id="r1")
        note(scene, "b", key_id="legacy")
        note(scene, "c", key_id="gone-id")
        page = scene.ask("GET", f"{EVENTS}?format=json&{query}").data
        assert [event["event"] for event in page["events"]] == found

    @pytest.mark.parametrize(
        "query",
        [
            "format=xml",
            "format=json&limit=0",
            "format=json&limit=1001",
            "format=json&limit=x",
            "format=json&before=x",
            "format=json&before=-1",
            "format=json&before=" + "9" * 17,
            "format=json&before=%C2%B2",
            "format=json&recent=1",
            "limit=5",
            "recent=-1",
            "recent=1001",
            "verbose=1",
        ],
    )
    def test_what_is_not_understood_is_refused(self, scene, query):
        assert scene.ask("GET", f"{EVENTS}?{query}").code == "400 bad_parameter"

    @pytest.mark.parametrize(
        ("accept", "form"),
        [
            ("application/json", "application/json"),
            ("Application/JSON, */*;q=0.1", "application/json"),
            ("*/*", STREAM),
            ("text/event-stream, application/json", STREAM),
            ("", STREAM),
        ],
    )
    def test_who_accepts_json_alone_gets_a_page(self, scene, accept, form):
        answer = scene.ask("HEAD", EVENTS, lines=[f"Accept: {accept}"])
        assert (answer.status, answer.headers["content-type"].split(";")[0]) == (200, form)
        assert answer.body == b""
        assert scene.events.followers == 0

    def test_the_query_decides_before_the_header(self, scene):
        lines = ["Accept: application/json"]
        answer = scene.ask("HEAD", f"{EVENTS}?format=stream", lines=lines)
        assert answer.headers["content-type"] == STREAM


class TestStreams:
    def test_the_latest_come_first_and_then_what_happens(self, scene, follow):
        note(scene, "a", "b", "c")
        reader = follow("?recent=2")
        head = reader.begin()
        assert f"Content-Type: {STREAM}\r\n" in head
        assert "Cache-Control: no-store\r\n" in head
        assert "X-Accel-Buffering: no\r\n" in head
        assert reader.names(2) == ["b", "c"]
        note(scene, "d", route="chat")
        frame = reader.frame()
        assert frame == {"id": str(BORN + 4), "event": "d", "data": frame["data"]}
        assert (frame["data"]["id"], frame["data"]["route"]) == (BORN + 4, "chat")

    def test_a_value_that_looks_like_a_frame_stays_a_value(self, scene, follow):
        reader = follow()
        reader.begin()
        note(scene, "a", subject="x\n\nevent: forged\ndata: {}\r\u2028")
        note(scene, "b")
        assert reader.frame()["data"]["subject"] == "x\n\nevent: forged\ndata: {}\r\u2028"
        assert reader.names(1) == ["b"]

    def test_filters_hold_for_the_past_and_the_future(self, scene, follow):
        note(scene, "a", "b", route="chat")
        reader = follow("?route=chat&event=a,c")
        reader.begin()
        note(scene, "a", route="echo")
        note(scene, "c", "d", "a", route="chat")
        assert reader.names(3) == ["a", "c", "a"]

    def test_who_comes_back_gets_what_it_missed(self, scene, follow):
        note(scene, "a", "b", "c")
        reader = follow("?recent=0", f"Last-Event-ID: {BORN + 1}")
        reader.begin()
        assert reader.names(2) == ["b", "c"]

    def test_who_comes_back_late_is_told_how_much_is_gone(self, scene, follow):
        note(scene, *["a"] * 2010)
        reader = follow("", f"Last-Event-ID: {BORN + 3}")
        reader.begin()
        assert reader.frame() == {"event": "lost", "data": {"missed": 7}}
        assert reader.frame()["id"] == str(BORN + 11)

    @pytest.mark.parametrize("seen", ["5", str(BORN + 10)])
    def test_who_comes_back_from_elsewhere_gets_the_latest(self, scene, follow, seen):
        note(scene, "a", "b")
        reader = follow("?recent=1", f"Last-Event-ID: {seen}")
        reader.begin()
        assert reader.frame() == {"event": "lost", "data": {"missed": None}}
        assert reader.names(1) == ["b"]

    @pytest.mark.parametrize("seen", ["", "x", "-1", "9" * 40])
    def test_an_id_that_is_none_counts_as_none(self, scene, follow, seen):
        note(scene, "a")
        reader = follow("", f"Last-Event-ID: {seen}")
        reader.begin()
        assert reader.names(1) == ["a"]

    def test_a_silent_stream_shows_signs_of_life(self, follow, monkeypatch):
        monkeypatch.setattr(streams, "HEARTBEAT", 0.01)
        reader = follow()
        reader.begin()
        assert reader.frame() == {"": ""}
        assert reader.frame() == {"": ""}

    def test_http_1_0_is_served_until_it_ends(self, scene, follow):
        note(scene, "a")
        reader = follow("", version="1.0")
        assert "chunked" not in reader.head()
        until(scene, lambda: scene.events.followers)
        scene.events.hang_up()
        assert b"event: a\n" in reader.rest()

    def test_a_stop_ends_streams_at_once(self, scene, follow):
        reader = follow()
        reader.begin()
        began = scene.loop.time()
        scene.loop.run_until_complete(scene._runner.cleanup())
        assert scene.loop.time() - began < 1
        with pytest.raises(EOFError):
            reader.frame()
        assert scene.events.followers == 0


class TestReaders:
    def test_readers_that_come_and_go_leave_nothing(self, scene, follow):
        for _ in range(5):
            readers = [follow() for _ in range(10)]
            for reader in readers:
                reader.begin()
            assert scene.events.followers == 10
            for reader in readers:
                reader.leave()
            # Without an event, or a sign of life, that finds out.
            until(scene, lambda: scene.events.followers == 0)

    def test_there_is_an_end_to_how_many_may_follow(self, scene, follow, monkeypatch):
        monkeypatch.setattr(streams, "MOST_READERS", 2)
        readers = [follow(), follow()]
        for reader in readers:
            reader.begin()
        answer = scene.ask("GET", EVENTS)
        assert answer.code == "503 too_many_readers"
        assert answer.headers["retry-after"] == "5"
        readers[0].leave()
        until(scene, lambda: scene.events.followers == 1)
        follow().begin()

    def test_a_viewer_may_follow_and_nobody_else(self, scene, follow):
        scene.token = TOKENS["viewer"]
        follow().begin()
        scene.token = "wrong"
        assert " 401 " in follow().head()

    def test_a_slow_reader_is_dropped_and_takes_no_memory(self, scene, follow):
        slow = follow("?recent=0", room=4096)
        quick = follow("?recent=0")
        quick.begin()
        until(scene, lambda: scene.events.followers == 2)
        assert scene._runner.server is not None
        most = noted = 0

        async def flood():
            nonlocal most, noted
            while scene.events.followers == 2:
                noted += 100
                note(scene, *["a"] * 100, text="x" * 500)
                await asyncio.sleep(0)
                while b"\n" in await quick._reader.read(1 << 20) and len(quick._reader._buffer):
                    pass
                waiting = [
                    handler.transport.get_write_buffer_size()
                    for handler in scene._runner.server.connections
                    if handler.transport is not None
                ]
                most = max(most, *waiting)

        scene.loop.run_until_complete(asyncio.wait_for(flood(), 20))
        assert noted > MOST_BEHIND
        assert most < 512 * 1024
        slow.rest()

    def test_a_reader_that_takes_nothing_is_dropped_in_time(self, scene, follow, monkeypatch):
        monkeypatch.setattr(streams, "WRITE_WITHIN", 0.05)
        note(scene, *["a"] * 1000, text="x" * 500)
        # What the kernel would take has to be less than what there is to tell.
        listening = scene._listener.sockets[0]
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        slow = follow("?recent=1000", room=4096)
        until(scene, lambda: scene.events.followers == 1)
        until(scene, lambda: scene.events.followers == 0)
        assert len(slow.rest()) < 500 * 1000

    def test_a_stop_does_not_wait_for_a_reader_that_is_stuck(self, scene, follow):
        note(scene, *["a"] * 1000, text="x" * 500)
        scene._listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        follow("?recent=1000", room=4096)
        until(scene, lambda: scene.events.followers == 1)
        scene.loop.run_until_complete(asyncio.sleep(0.05))
        began = scene.loop.time()
        scene.loop.run_until_complete(scene._runner.cleanup())
        assert scene.loop.time() - began < 1
