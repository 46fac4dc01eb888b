"""A certificate authority for one test run, made on the spot."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path


class Certificates:
    """Files for a gateway's `tls`, and contexts for the clients and upstreams around it."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self._server = self._authority.issue_cert("localhost", "127.0.0.1")
        self.authority = folder / "ca.pem"
        self.certificate = folder / "certificate.pem"
        self.private_key = folder / "key.pem"
        self._authority.cert_pem.write_to_path(str(self.authority))
        self._server.private_key_pem.write_to_path(str(self.private_key))
        self.certificate.write_bytes(b"".join(b.bytes() for b in self._server.cert_chain_pems))

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.configure_cert(context)
        return context
