"""Autobahn's cases (as packaged by kosoku) in a process of their own; prints what each came to.

kosoku changes the interpreter it runs in (it puts modules of Autobahn's on `sys.path` and replaces
a function of `binascii`), which is why the tests start this file instead of importing kosoku.

    autobahn.py server URL   drives the echo server at URL
    autobahn.py client       serves the cases; prints its URL, then waits for an echo client

The last line is a JSON object: case id to `[behavior, behavior of the close]`.
"""

from __future__ import annotations

import asyncio
import json
import sys

import kosoku

# All but compression in every size (12, 13), of which one case each is enough: what a gateway
# could spoil there is the same in all of them.
CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*", "12.1.1", "13.1.1"]
AT_ONCE = 4


async def serve_cases():
    async with kosoku.run_fuzzingserver(CASES, port=0) as server:
        say(f"ws://{server.address}:{server.port}")
        return await server.get_result()


async def main() -> None:
    try:
        if sys.argv[1] == "server":
            results = await kosoku.run_fuzzingclient(sys.argv[2], CASES, concurrency=AT_ONCE)
        else:
            results = await serve_cases()
    except kosoku.FailureError as failure:
        results = failure.results
    say(json.dumps({case.case_id: verdicts(case) for case in results}))


def verdicts(case) -> list[str]:
    return [case.behavior.value, case.behavior_close.value]


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


asyncio.run(main())
