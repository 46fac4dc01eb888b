"""`wskeeper doctor` before real hops: the gateway alone, and nginx in its usual wrong ways."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from contextlib import contextmanager

import pytest
import trustme

from tests.harness import programs
from tests.harness.ports import reserved_port
from tests.harness.process import wait_until
from tests.harness.upstream import Upstream
from tests.integration.conftest import KEY

LINES = """
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";
    proxy_set_header Host $http_host;
"""


def doctor(url, *options, key=KEY, **environment):
    """Runs the command; the outcome and what it told, by probe."""
    keys = {} if key is None else {"WSKEEPER_KEY": key}
    result = programs.run("doctor", url, "--json", *options, environment={**keys, **environment})
    assert KEY not in result.stdout + result.stderr
    told = json.loads(result.stdout)
    assert told["opens"] is (result.returncode == 0)
    return result.returncode, {finding["probe"]: finding for finding in told["findings"]}


def verdicts(told):
    return {probe: finding["verdict"] for probe, finding in told.items()}


@contextmanager
def nginx(folder, location, http=""):
    """nginx in front; yields its port."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    file = folder / "nginx.conf"
    command = [program, "-p", str(folder), "-c", str(file)]
    with reserved_port() as port:
        file.write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
            f"http {{ access_log off; {places} {http}"
            f"server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }} }}"
        )
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                assert wait_until(lambda: listens(port), 10)
                yield port
            finally:
                process.terminate()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def upstream():
    """Takes what it is offered, as far as the two lines go."""

    def agreeing(connection):
        offers = connection.read_request().get("Sec-WebSocket-Extensions")
        lines = ("Sec-WebSocket-Extensions: permessage-deflate",) if offers else ()
        connection.send(connection.switching(*lines))
        connection.keep_listening()

    with Upstream(agreeing) as upstream:
        yield upstream


def passing(gateway):
    return f"proxy_pass http://{gateway.public[0]}:{gateway.public[1]};"


# The gateway alone -----------------------------------------------------------------------------


def test_everything_arrives_where_nothing_is_in_between(start):
    status, told = doctor(start().url + "/app")
    assert status == 0
    assert verdicts(told) == {
        "connection": "ok",
        "gateway": "ok",
        "upgrade": "ok",
        "key": "ok",
        "subprotocol": "ok",
        "compression": "ok",
        "request id": "ok",
        "client": "unsure",
    }
    assert told["key"]["text"] == "a WebSocket opens, with the key in header X-Api-Key"


def test_route_that_takes_ordinary_requests_too_is_as_well(start):
    status, told = doctor(start({"http": "passthrough"}).url + "/app")
    assert status == 0
    assert told["gateway"]["verdict"] == told["key"]["verdict"] == "ok"
    assert "401 key_missing" in told["gateway"]["text"]


def test_without_a_key_it_says_that_one_would_open(start):
    status, told = doctor(start().url + "/app", key=None)
    assert status == 0
    assert verdicts(told) == {
        "connection": "ok",
        "gateway": "ok",
        "upgrade": "ok",
        "key": "unsure",
    }
    assert told["key"]["text"] == "not examined: no key was given"
    assert "--key-file FILE" in told["key"]["mend"][0]


@pytest.mark.parametrize("carrier", ["bearer", "subprotocol", {"cookie": "k"}, {"query": "k"}])
def test_key_travels_where_the_gateway_says(start, carrier):
    status, told = doctor(start(carriers=[carrier], route={"origins": []}).url + "/app")
    assert (status, told["key"]["verdict"]) == (0, "ok")


def test_key_that_is_not_known_opens_nothing(start):
    status, told = doctor(start().url + "/app", key="another-key-b31d9f27a4")
    assert status == 1
    assert told["key"]["verdict"] == "bad"
    assert told["key"]["text"].startswith("401 key_unknown: ")


def test_refusal_in_a_close_frame_is_understood(start):
    gateway = start(route={"refuse_with": "close"})
    status, told = doctor(gateway.url + "/app", key="another-key-b31d9f27a4")
    assert status == 1
    assert told["upgrade"]["verdict"] == "ok"
    assert told["key"]["text"].startswith("key_unknown (101, then Close 3000)")
    assert doctor(gateway.url + "/app")[0] == 0


def test_service_that_is_down_is_named_as_such(start):
    gateway = start(route={"upstream": "ws://127.0.0.1:1"})
    status, told = doctor(gateway.url + "/app")
    assert status == 1
    assert told["upgrade"]["verdict"] == "ok"
    assert told["key"]["text"].startswith("502 upstream_unreachable: ")


def test_gateway_is_asked_what_it_takes_us_for(start):
    gateway = start()
    status, told = doctor(gateway.url + "/app", "--admin", gateway.admin_url)
    assert status == 0
    assert (told["admin"]["verdict"], told["client"]["verdict"]) == ("ok", "ok")
    assert told["admin"]["text"].startswith(f"{gateway.admin_url} answers: wskeeper ")
    assert "takes us for 127.0.0.1" in told["client"]["text"]


def test_session_that_the_asked_gateway_does_not_have_is_told(start):
    gateway, other = start(), start()
    status, told = doctor(gateway.url + "/app", "--admin", other.admin_url)
    assert (status, told["admin"]["verdict"], told["client"]["verdict"]) == (0, "ok", "unsure")
    assert "cannot be asked" in told["client"]["text"]


@pytest.mark.parametrize("key", [KEY, None])
def test_admin_listener_that_does_not_answer_is_told_with_a_key_or_without(start, key):
    gateway = start()
    public = gateway.url.replace("ws://", "http://")
    for place, words in (
        ("http://127.0.0.1:1", "is the gateway running?"),
        (public, "not its admin listener: it answers 404 no_route; name its `admin.listen`"),
    ):
        status, told = doctor(gateway.url + "/app", "--admin", place, key=key)
        # That is no fault of the connection.
        assert (status, told["upgrade"]["verdict"], told["admin"]["verdict"]) == (0, "ok", "bad")
        assert place in told["admin"]["text"]
        assert words in told["admin"]["text"]
        assert key is None or "admin listener" in told["client"]["text"]


@pytest.mark.parametrize(
    ("origins", "verdict", "code"),
    [(["https://a.example"], "ok", 0), (["https://b.example"], "bad", 1), (None, "unsure", 0)],
)
def test_origin_is_found_out(start, origins, verdict, code):
    gateway = start(route={"origins": origins})
    status, told = doctor(gateway.url + "/app", "--origin", "https://a.example")
    assert (told["origin"]["verdict"], status) == (verdict, code)


# TLS -------------------------------------------------------------------------------------------


@pytest.fixture
def secure(start, certificates, tmp_path):
    clients = trustme.CA()
    bundle, own = tmp_path / "clients.pem", tmp_path / "own.pem"
    clients.cert_pem.write_to_path(str(bundle))
    issued = clients.issue_cert("device")
    issued.private_key_and_cert_chain_pem.write_to_path(str(own))
    pair = {
        "certificate": str(certificates.certificate),
        "private_key": str(certificates.private_key),
    }
    return start(tls={**pair, "client_ca": str(bundle)}), str(certificates.authority), str(own)


def test_certificate_of_ours_is_shown(secure):
    gateway, authority, own = secure
    url = gateway.url.replace("ws://127.0.0.1", "wss://localhost") + "/app"
    status, told = doctor(url, "--ca", authority, "--certificate", own)
    assert status == 0
    assert "certificate of localhost, 127.0.0.1" in told["connection"]["text"]


def test_missing_certificate_of_ours_is_told(secure):
    gateway, authority, _ = secure
    url = gateway.url.replace("ws://127.0.0.1", "wss://localhost") + "/app"
    status, told = doctor(url, "--ca", authority)
    assert status == 1
    assert any("--certificate" in line for f in told.values() for line in f["mend"])


def test_key_is_not_sent_to_whom_nobody_vouches_for(secure):
    gateway, _, _ = secure
    status, told = doctor(gateway.url.replace("ws://", "wss://") + "/app")
    assert (status, verdicts(told)) == (1, {"connection": "bad"})
    assert "not trusted" in told["connection"]["text"]
    assert not gateway.events("handshake_refused")


def test_plain_dialled_with_tls_and_the_other_way_round(start, secure):
    gateway, _, _ = secure
    status, told = doctor(gateway.url + "/app")
    assert status == 1
    assert any("wss://" in line for line in told["gateway"]["mend"])


def test_tls_dialled_where_there_is_none(start):
    status, told = doctor(start().url.replace("ws://", "wss://") + "/app")
    assert (status, verdicts(told)) == (1, {"connection": "bad"})
    assert any("ws://" in line for line in told["connection"]["mend"])


# nginx -----------------------------------------------------------------------------------------


def test_nginx_that_is_right_is_found_right(start, tmp_path):
    with nginx(tmp_path, LINES + passing(start())) as port:
        status, told = doctor(f"ws://127.0.0.1:{port}/app")
    assert status == 0
    assert set(verdicts(told).values()) == {"ok", "unsure"}
    assert verdicts(told)["compression"] == "ok"


def test_nginx_that_strips_the_upgrade_is_found_out(start, tmp_path):
    with nginx(tmp_path, passing(start())) as port:
        status, told = doctor(f"ws://127.0.0.1:{port}/app")
    assert status == 1
    assert "ate Upgrade" in told["upgrade"]["text"]
    mend = [line.strip() for line in told["upgrade"]["mend"]]
    for line in LINES.strip().splitlines()[:3]:
        assert line.strip() in mend
    assert "key" not in told


def test_lines_of_the_mend_mend_it(start, tmp_path):
    gateway = start()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with nginx(tmp_path / "a", passing(gateway)) as port:
        mend = doctor(f"ws://127.0.0.1:{port}/app")[1]["upgrade"]["mend"]
    lines = "".join(line for line in mend if line.startswith("    "))
    with nginx(tmp_path / "b", lines + passing(gateway)) as port:
        assert doctor(f"ws://127.0.0.1:{port}/app")[0] == 0


def test_nginx_that_cuts_the_silent_is_found_out(start, tmp_path):
    with nginx(tmp_path, LINES + "proxy_read_timeout 2s;" + passing(start())) as port:
        status, told = doctor(f"ws://127.0.0.1:{port}/app", "--idle", "5s")
    assert status == 0  # it did open
    assert told["idle"]["verdict"] == "bad"
    assert re.search(r"without a Close \(1006\) after (1\.9|2\.\d) s", told["idle"]["text"])
    assert any("proxy_read_timeout" in line for line in told["idle"]["mend"])


def test_silence_that_nobody_minds_is_none(start):
    _, told = doctor(start().url + "/app", "--idle", "500ms")
    assert told["idle"]["verdict"] == "ok"


@pytest.mark.parametrize(
    ("name", "probe", "verdict"),
    [
        ("Sec-WebSocket-Protocol", "subprotocol", "bad"),
        ("Sec-WebSocket-Extensions", "compression", "unsure"),
        ("X-Api-Key", "key", "bad"),
    ],
)
def test_header_that_nginx_eats_is_named(start, tmp_path, name, probe, verdict):
    location = f'{LINES} proxy_set_header {name} ""; {passing(start())}'
    with nginx(tmp_path, location) as port:
        status, told = doctor(f"ws://127.0.0.1:{port}/app")
    assert told[probe]["verdict"] == verdict
    assert "a hop" in told[probe]["text"]
    assert status == (1 if probe == "key" else 0)


def test_origin_that_nginx_eats_is_not_taken_for_passed(start, tmp_path):
    gateway = start(route={"origins": ["https://a.example"]})
    location = f'{LINES} proxy_set_header Origin ""; {passing(gateway)}'
    with nginx(tmp_path, location) as port:
        _, told = doctor(f"ws://127.0.0.1:{port}/app", "--origin", "https://a.example")
    assert told["origin"]["verdict"] == "unsure"
    assert "ate Origin" in told["origin"]["text"]


def test_host_that_nginx_changes_is_found_out(start, tmp_path):
    gateway = start(route={"origins": "same"})
    location = LINES.replace("$http_host", "inside") + passing(gateway)
    with nginx(tmp_path, location) as port:
        origin = f"http://127.0.0.1:{port}"
        status, told = doctor(f"ws://127.0.0.1:{port}/app", "--origin", origin)
    assert status == 1
    assert told["origin"]["verdict"] == "bad"
    assert any("Host $http_host" in line for line in told["origin"]["mend"])


def test_key_is_not_sent_where_a_redirect_leads(tmp_path, upstream):
    location = f"return 301 http://127.0.0.1:{upstream.port}/app?secret=s;"
    with nginx(tmp_path, location) as port, upstream.untouched():
        status, told = doctor(f"ws://127.0.0.1:{port}/app")
    assert status == 1
    assert f"redirects to ws://127.0.0.1:{upstream.port}/app," in told["upgrade"]["text"]
    assert "nginx" in told["upgrade"]["text"]
    assert "key" not in told


def test_hop_that_answers_itself_is_named(tmp_path):
    with nginx(tmp_path, "return 200 hello;") as port:
        status, told = doctor(f"ws://127.0.0.1:{port}/app")
    assert status == 1
    assert "no sign of a wskeeper: nginx" in told["gateway"]["text"]
    assert told["upgrade"]["text"].startswith("200 by nginx")


def test_hop_that_finds_nobody_behind_it_is_named(tmp_path):
    with nginx(tmp_path, "proxy_pass http://127.0.0.1:1;") as port:
        status, told = doctor(f"ws://127.0.0.1:{port}/app")
    assert status == 1
    assert told["upgrade"]["text"].startswith("502 by nginx")


# Who is nobody ---------------------------------------------------------------------------------


def test_nobody_listens():
    status, told = doctor("ws://127.0.0.1:1/app")
    assert (status, verdicts(told)) == (1, {"connection": "bad"})
    assert "Connection refused" in told["connection"]["text"]
