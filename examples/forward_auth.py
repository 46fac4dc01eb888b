"""Asks an HTTP service who is calling, as nginx's auth_request and Traefik's ForwardAuth do."""  # noqa: INP001

import os

import aiohttp

from proxy.plugin import HandshakeRequest, Principal, Refusal

URL = os.environ.get("FORWARD_AUTH_URL", "http://127.0.0.1:9100/auth")
SHOWN = {"authorization", "cookie", "x-api-key"}


async def authenticate(request: HandshakeRequest, _credential: str | None) -> Principal | Refusal:
    headers = [(name, value) for name, value in request.headers if name in SHOWN]
    headers += [("X-Forwarded-Uri", request.path), ("X-Forwarded-For", request.client)]
    async with aiohttp.request("GET", URL, headers=headers, allow_redirects=False) as answer:
        if answer.status == 200:
            return Principal(subject=answer.headers["X-Auth-Subject"])
        if answer.status in {401, 403}:
            return Refusal("The identity service does not know you.")
        raise OSError(f"the identity service answers {answer.status}")  # Keeps the caller out.
