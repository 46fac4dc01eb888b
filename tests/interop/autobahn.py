"""Autobahn's cases (as packaged by kosoku) in a process of their own; prints what each came to.

kosoku changes the interpreter it runs in (it puts modules of Autobahn's on `sys.path` and replaces
a function of `binascii`), which is why the tests start this file instead of importing kosoku.

    autobahn.py server CASES URL   drives the echo server at URL
    autobahn.py client CASES       serves the cases; prints its URL, then waits for an echo client

The last line is a JSON object: case id to `[behavior, behavior of the close]`.
"""

from __future__ import annotations

import asyncio
import json
import sys

import kosoku

AT_ONCE = 4


async def serve_cases(cases: list[str]):
    async with kosoku.run_fuzzingserver(cases, port=0) as server:
        say(f"ws://{server.address}:{server.port}")
        return await server.get_result()


async def main() -> None:
    side, cases = sys.argv[1], sys.argv[2].split(",")
    try:
        if side == "server":
            results = await kosoku.run_fuzzingclient(sys.argv[3], cases, concurrency=AT_ONCE)
        else:
            results = await serve_cases(cases)
    except kosoku.FailureError as failure:
        results = failure.results
    say(json.dumps({case.case_id: verdicts(case) for case in results}))


def verdicts(case) -> list[str]:
    return [case.behavior.value, case.behavior_close.value]


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


asyncio.run(main())
