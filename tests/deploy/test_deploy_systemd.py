"""The unit for systemd agrees with the gateway, and systemd has nothing against it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.listeners import _FILES_PER_SESSION, _OTHER_FILES
from tests.docs.markdown import page

PROJECT = Path(__file__).parents[2]
UNIT = PROJECT / "deploy/systemd/wskeeper.service"
CONFIGURATION = PROJECT / "deploy/systemd/wskeeper.yaml"
# 0 is a service that can do nothing, 10 one that can do everything.
EXPOSURE = 2.0

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here (systemd)"
)


def settings() -> dict[str, str]:
    """What the unit says; of what it says twice the last."""
    lines = UNIT.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]\w+=", line))


def config():
    loaded = load(CONFIGURATION, environ={})
    assert loaded.warnings == ()
    return loaded.config


def test_the_configuration_is_the_one_that_it_starts_with() -> None:
    unit = settings()
    assert unit["ExecStart"].endswith(f"wskeeper serve -c /etc/wskeeper/{CONFIGURATION.name}")
    assert unit["Type"] == "notify"
    assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_the_store_lies_where_it_may_write() -> None:
    unit = settings()
    assert config().store.startswith(f"sqlite:/var/lib/{unit['StateDirectory']}/")
    assert (unit["StateDirectoryMode"], unit["ProtectSystem"]) == ("0700", "strict")


def test_the_page_checks_when_the_folder_of_the_store_is_there() -> None:
    blocks = page("docs/deployment.md").blocks_in("sh")
    [recipe] = [block for block in blocks if "wskeeper check" in block.text]
    # The unit's first start makes it.
    assert recipe.text.index("enable --now") < recipe.text.index("wskeeper check")


def test_stopping_leaves_time_to_drain() -> None:
    assert int(settings()["TimeoutStopSec"]) > config().drain.timeout + config().timeouts.close


def test_files_suffice_for_the_connection_limit() -> None:
    most = config().limits.total_connections
    assert most is not None
    assert int(settings()["LimitNOFILE"]) > _OTHER_FILES + _FILES_PER_SESSION * most


def test_the_variables_in_its_comments_are_read() -> None:
    environ = {"WSKEEPER_ADMIN_TOKEN": "an-admin-token-of-the-deployment-tests"}
    assert load(CONFIGURATION, environ=environ).config.admin.token is not None
    assert re.findall(r"(WSKEEPER_\w+)=", UNIT.read_text()) == ["WSKEEPER_ADMIN_TOKEN_FILE"]


@needs_systemd
def test_systemd_understands_it(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/wskeeper/bin/wskeeper", "/bin/true"))
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


@needs_systemd
def test_systemd_finds_it_confined() -> None:
    ran = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for wskeeper.service: ([\d.]+)", ran.stdout)
    assert found, ran.stdout + ran.stderr
    assert float(found[1]) <= EXPOSURE
