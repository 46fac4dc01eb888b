"""The proxies that take part: what each needs, how it is configured and started."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import Command, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
# Two descriptors a session, and some.
CONNECTIONS = 12000
PREFIX = "/bench"
NGINX_CANDIDATES = ("nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx")
HAPROXY_CANDIDATES = ("haproxy", "/usr/sbin/haproxy", "/usr/local/sbin/haproxy")


@dataclass(frozen=True)
class Site:
    """Where one proxy is started: its folder, the port of the echo service, the API key."""

    folder: Path
    echo_port: int
    key: str


@dataclass(frozen=True)
class Proxy:
    """One contestant; `commands` are started in order and the last one listens for clients."""

    name: str
    # What it does with the key, in a few words.
    checks_key: str
    commands: Callable[[Site], list[Command]]
    # Its version, or None when it is not installed.
    version: Callable[[], str | None]
    default: bool = True
    # False for one that admits everybody.
    refuses: bool = True


def python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def program(*candidates: str) -> str | None:
    """The first that is installed; the folder of this Python comes before PATH."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    return next((found for name in candidates if (found := shutil.which(name, path=path))), None)


def _said(argv: list[str]) -> str:
    """What a program prints; empty when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False, cwd=ROOT)
    return "" if done.returncode else (done.stdout + done.stderr).strip()


def _write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


# wskeeper


def _wskeeper_version() -> str | None:
    if importlib.util.find_spec("proxy.__main__") is None:
        return None
    said = _said([*python("proxy"), "version"])
    # "wskeeper 0.1.0"
    return said.split()[1] if said else None


def _wskeeper(site: Site, environment: dict[str, str] | None = None) -> list[Command]:
    port = free_port()
    config = {
        "listen": f"127.0.0.1:{port}",
        "admin": {"listen": "127.0.0.1:0"},
        "log": {"level": "info", "format": "json"},
        "carriers": [{"header": "X-Api-Key"}],
        "keys": [{"name": "benchmark", "secret": site.key}],
        "routes": [
            {"name": "bench", "path": PREFIX, "upstream": f"ws://127.0.0.1:{site.echo_port}"}
        ],
    }
    # Every JSON document is a YAML document.
    file = _write(site.folder / "wskeeper.yaml", json.dumps(config, indent=1))
    return [Command([*python("proxy"), "serve", "-c", file], port, environment or {})]


def _wskeeper_asyncio(site: Site) -> list[Command]:
    return _wskeeper(site, {"WSKEEPER_EVENT_LOOP": "asyncio"})


# nginx

_NGINX = """\
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  {upstreams}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      {auth}
      proxy_pass http://127.0.0.1:{echo_port};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_set_header Host $host;
      proxy_read_timeout 1h;
      proxy_send_timeout 1h;
    }}
    {locations}
  }}
}}
"""

_AUTH_UPSTREAM = "upstream auth {{ server 127.0.0.1:{port}; keepalive 32; }}"
_AUTH_LOCATION = """\
location = /check {
      internal;
      proxy_pass http://auth;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
    }"""


def _nginx_version() -> str | None:
    found = program(*NGINX_CANDIDATES)
    return _said([found, "-v"]).rpartition("/")[2] if found else None


def _nginx_auth_version() -> str | None:
    found = program(*NGINX_CANDIDATES)
    if found is None or "http_auth_request_module" not in _said([found, "-V"]):
        return None
    return _nginx_version()


def _nginx(site: Site, auth: str = "", upstreams: str = "", locations: str = "") -> list[Command]:
    port = free_port()
    config = _NGINX.format(
        user="user root;" if os.geteuid() == 0 else "",
        folder=site.folder,
        connections=CONNECTIONS,
        port=port,
        echo_port=site.echo_port,
        auth=auth,
        upstreams=upstreams,
        locations=locations,
    )
    file = _write(site.folder / "nginx.conf", config)
    argv = [_required(*NGINX_CANDIDATES), "-p", str(site.folder), "-c", file]
    return [Command(argv, port)]


def _nginx_auth(site: Site) -> list[Command]:
    port = free_port()
    service = Command([*python("benchmarks.auth_service"), str(port), site.key], port)
    gateway = _nginx(site, "auth_request /check;", _AUTH_UPSTREAM.format(port=port), _AUTH_LOCATION)
    return [service, *gateway]


def _required(*candidates: str) -> str:
    found = program(*candidates)
    if found is None:
        raise FileNotFoundError(candidates[0])
    return found


# HAProxy

_HAPROXY = """\
global
  nbthread 1
  maxconn {connections}
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
frontend public
  bind 127.0.0.1:{port}
  http-request deny deny_status 401 unless {{ req.hdr(X-Api-Key) -m str {key} }}
  default_backend echo
backend echo
  server echo 127.0.0.1:{echo_port}
"""


def _haproxy_version() -> str | None:
    found = program(*HAPROXY_CANDIDATES)
    return _said([found, "-v"]).split()[2] if found else None


def _haproxy(site: Site) -> list[Command]:
    port = free_port()
    config = _HAPROXY.format(
        connections=CONNECTIONS // 2, port=port, key=site.key, echo_port=site.echo_port
    )
    file = _write(site.folder / "haproxy.cfg", config)
    return [Command([_required(*HAPROXY_CANDIDATES), "-db", "-q", "-f", file], port)]


# Envoy


def _envoy_version() -> str | None:
    found = program("envoy")
    # "… version: <commit>/1.40.0/Clean/RELEASE/BoringSSL"
    return _said([found, "--version"]).split("/")[-4] if found else None


def _envoy_address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _envoy_routes(key: str) -> dict[str, object]:
    exact = {"name": "x-api-key", "string_match": {"exact": key}}
    admitted = {
        "match": {"prefix": "/", "headers": [exact]},
        "route": {"cluster": "echo", "timeout": "0s"},
    }
    refused = {"match": {"prefix": "/"}, "direct_response": {"status": 401}}
    host = {"name": "all", "domains": ["*"], "routes": [admitted, refused]}
    return {"virtual_hosts": [host]}


def _envoy(site: Site) -> list[Command]:
    port = free_port()
    api = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{api}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "public",
        # The default keeps a session's socket for a second after both sides have said Close.
        "delayed_close_timeout": "0s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": _envoy_routes(site.key),
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{api}.http.router.v3.Router"},
            }
        ],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    endpoint = {"endpoint": {"address": _envoy_address(site.echo_port)}}
    # The defaults stop at 1,024 connections.
    names = ("max_connections", "max_requests", "max_pending_requests")
    most = dict.fromkeys(names, 2 * CONNECTIONS)
    cluster = {
        "name": "echo",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "echo",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
        "circuit_breakers": {"thresholds": [most]},
    }
    listener = {"name": "public", "address": _envoy_address(port), "filter_chains": [chain]}
    config = {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
    file = _write(site.folder / "envoy.json", json.dumps(config, indent=1))
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    return [Command([_required("envoy"), "-c", file, *options], port)]


# The aiohttp message pump


def _pump_version() -> str | None:
    return f"{version('aiohttp')} on uvloop {version('uvloop')}"


def _pump(site: Site) -> list[Command]:
    port = free_port()
    upstream = f"ws://127.0.0.1:{site.echo_port}"
    return [Command([*python("benchmarks.aiohttp_pump"), str(port), upstream, site.key], port)]


REFERENCE = "nginx"
OURS = "wskeeper"
PROXIES = (
    Proxy(OURS, "yes", _wskeeper, _wskeeper_version),
    Proxy("wskeeper-asyncio", "yes", _wskeeper_asyncio, _wskeeper_version, default=False),
    Proxy(REFERENCE, "no", _nginx, _nginx_version, refuses=False),
    Proxy("nginx+auth_request", "asks a service", _nginx_auth, _nginx_auth_version),
    Proxy("haproxy", "one fixed key", _haproxy, _haproxy_version),
    Proxy("envoy", "one fixed key", _envoy, _envoy_version),
    Proxy("aiohttp-pump", "yes", _pump, _pump_version),
)
