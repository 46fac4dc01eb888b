"""docker-compose.yml, deploy/ and the Dockerfile agree with each other and with the code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from proxy.config.load import load
from proxy.config.model import Drain
from proxy.config.values import address, duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config.model import Config

PROJECT = Path(__file__).parents[2]
CONFIGURATION = PROJECT / "deploy/wskeeper.yaml"
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
# The image's variables, over all ENV lines.
IMAGE = dict(
    re.findall(
        r"\b([A-Z_]+)=(\S+)",
        "\n".join(re.findall(r"^ENV (?:.*\\\n)*.*$", DOCKERFILE, re.MULTILINE)),
    )
)
EVERYWHERE = "0.0.0.0"


@pytest.fixture
def config(secrets: dict[str, str]) -> Config:
    """What the gateway's container runs."""
    environ = {name: IMAGE[name] for name in ("WSKEEPER_LISTEN", "WSKEEPER_STORE")} | secrets
    loaded = load(CONFIGURATION, environ=environ)
    assert loaded.warnings == ()
    return loaded.config


def published(service: dict[str, Any]) -> dict[int, tuple[str, int]]:
    """The host's address and port, by the container's port."""
    ports = {}
    for entry in service.get("ports", []):
        *host, outside, inside = entry.split(":")
        ports[int(inside)] = (host[0] if host else EVERYWHERE, int(outside))
    return ports


class TestNetworks:
    def test_example_services_are_on_the_internal_network_alone(self, compose, example_services):
        internal = [
            name for name, network in compose["networks"].items() if network.get("internal")
        ]
        assert len(example_services) == 3
        for service in example_services.values():
            assert service["networks"] == internal
            assert "ports" not in service

    def test_the_gateway_joins_the_services_and_the_outside(self, compose, gateway_service):
        joined = set(gateway_service["networks"])
        assert {n for n, network in compose["networks"].items() if network.get("internal")} < joined
        assert any(not compose["networks"][name].get("internal") for name in joined)

    def test_prometheus_shares_a_network_with_the_gateway_and_none_with_the_services(
        self, services, gateway_service, example_services
    ):
        watched_over = set(services["prometheus"]["networks"])
        assert watched_over & set(gateway_service["networks"])
        for service in example_services.values():
            assert not watched_over & set(service["networks"])

    def test_every_network_is_declared(self, compose, services):
        for service in services.values():
            assert set(service["networks"]) <= compose["networks"].keys()


class TestPorts:
    def test_the_public_listener_is_published(self, config, gateway_service):
        assert config.listen.host == EVERYWHERE
        assert published(gateway_service)[config.listen.port] == (EVERYWHERE, 8080)

    def test_the_admin_listener_is_published_to_this_machine_alone(self, config, gateway_service):
        assert config.admin.listen.host == EVERYWHERE
        assert config.admin.token is not None
        assert published(gateway_service)[config.admin.listen.port] == ("127.0.0.1", 8081)

    def test_nothing_else_is_published_to_other_machines(self, services):
        open_to_all = {
            (name, inside)
            for name, service in services.items()
            for inside, (host, _) in published(service).items()
            if host == EVERYWHERE
        }
        assert open_to_all == {("gateway", 8080)}

    def test_the_image_exposes_what_is_published(self, gateway_service):
        [exposed] = re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)
        assert {int(port) for port in exposed.split()} == published(gateway_service).keys()

    def test_prometheus_scrapes_the_admin_listener(self, config, services):
        mounted, inside = services["prometheus"]["volumes"][0].split(":")[:2]
        [flag] = [f for f in services["prometheus"]["command"] if f.startswith("--config.file=")]
        file = PROJECT / mounted / Path(flag.partition("=")[2]).relative_to(inside)
        scraped = yaml.safe_load(file.read_text())
        [job] = scraped["scrape_configs"]
        [target] = [t for group in job["static_configs"] for t in group["targets"]]
        assert target == f"gateway:{config.admin.listen.port}"
        assert config.admin.public_metrics
        for rules in scraped["rule_files"]:
            assert list(file.parent.glob(rules))


class TestGrafana:
    @pytest.fixture
    @staticmethod
    def mounted(services) -> dict[Path, Path]:
        """Folders of the project by where Grafana sees them."""
        folders = [entry.split(":") for entry in services["grafana"]["volumes"]]
        return {Path(entry[1]): PROJECT / entry[0] for entry in folders if entry[0][0] == "."}

    def test_it_finds_the_dashboard_and_prometheus(self, services, mounted):
        provisioning = mounted[Path("/etc/grafana/provisioning")]
        [source] = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())[
            "datasources"
        ]
        [port] = published(services["prometheus"])
        assert source["url"] == f"http://prometheus:{port}"
        [provider] = yaml.safe_load((provisioning / "dashboards/wskeeper.yml").read_text())[
            "providers"
        ]
        dashboards = mounted[Path(provider["options"]["path"])]
        home = Path(services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
        assert home.parent == Path(provider["options"]["path"])
        assert json.loads((dashboards / home.name).read_text())["uid"] == "wskeeper"

    def test_it_shares_a_network_with_prometheus_and_none_with_the_services(
        self, services, example_services
    ):
        networks = set(services["grafana"]["networks"])
        assert networks & set(services["prometheus"]["networks"])
        for service in example_services.values():
            assert not networks & set(service["networks"])

    def test_nobody_can_change_anything_and_there_is_no_password(self, services):
        environment = services["grafana"]["environment"]
        assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
        assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
        assert not [name for name in environment if "PASSWORD" in name]


class TestServices:
    def test_every_service_says_how_it_is(self, services):
        for name, service in services.items():
            assert service["healthcheck"]["test"][0] == "CMD", name

    def test_the_gateway_is_asked_by_its_own_command(self, gateway_service):
        assert gateway_service["healthcheck"]["test"] == ["CMD", "wskeeper", "healthcheck"]
        assert 'CMD ["wskeeper", "healthcheck"]' in DOCKERFILE

    def test_every_service_is_hardened(self, services):
        for name, service in services.items():
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
            assert service["restart"] == "unless-stopped", name
            assert "privileged" not in service, name

    def test_images_from_outside_are_pinned(self, services):
        for service in services.values():
            if "build" not in service:
                assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"])

    def test_the_image_has_the_project_version(self, gateway_service, example_services):
        version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
        for service in (gateway_service, *example_services.values()):
            assert service["image"] == f"wskeeper:{version}"
            assert service["build"] == "."

    def test_stopping_leaves_time_to_drain(self, gateway_service):
        assert duration(gateway_service["stop_grace_period"]) > Drain().timeout

    def test_files_suffice_for_the_connection_limit(self, config, gateway_service):
        files = gateway_service["ulimits"]["nofile"]
        assert files["soft"] > 2 * config.limits.total_connections

    def test_routes_lead_to_where_the_services_listen(self, config, example_services):
        for route in config.routes:
            target = route.upstream.target
            command = example_services[target.host]["command"]
            listening = address(command[command.index("--listen") + 1])
            assert (listening.host, listening.port) == (EVERYWHERE, target.port)
        assert {route.upstream.target.host for route in config.routes} == example_services.keys()

    def test_example_services_are_probed_where_they_listen(self, example_services):
        for service in example_services.values():
            command = service["command"]
            port = address(command[command.index("--listen") + 1]).port
            assert f"('127.0.0.1', {port})" in service["healthcheck"]["test"][-1]


class TestStore:
    @pytest.fixture
    @staticmethod
    def folder(config: Config) -> str:
        """Where the gateway writes."""
        kind, _, path = config.store.partition(":")
        assert kind == "sqlite"
        return str(Path(path).parent)

    def test_it_lies_on_a_volume_that_outlives_the_container(
        self, compose, gateway_service, folder
    ):
        [volume] = [entry for entry in gateway_service["volumes"] if entry.endswith(f":{folder}")]
        assert volume.partition(":")[0] in compose["volumes"]

    def test_nothing_else_can_be_written(self, gateway_service, folder):
        assert gateway_service["read_only"] is True
        for entry in gateway_service["volumes"]:
            assert entry.endswith((":ro", f":{folder}"))

    def test_the_image_makes_its_directory_for_its_own_user_alone(self, folder):
        [user] = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
        assert f"install --directory --owner={user} --mode=0700 {folder}\n" in DOCKERFILE

    def test_commands_without_a_file_keep_keys_there_too(self, folder):
        assert f"WORKDIR {folder}\n" in DOCKERFILE

    def test_every_volume_is_declared(self, compose, services):
        named = {
            entry.partition(":")[0]
            for service in services.values()
            for entry in service.get("volumes", [])
            if not entry.startswith(".")
        }
        assert named == compose["volumes"].keys()


class TestSecrets:
    @pytest.fixture
    @staticmethod
    def ignored() -> Callable[[Path], bool]:
        """Whether git ignores a path."""
        if shutil.which("git") is None or not (PROJECT / ".git").exists():
            pytest.skip("this is no git checkout")

        def ask(path: Path) -> bool:
            command = ["git", "check-ignore", "--quiet", str(path)]
            return subprocess.run(command, cwd=PROJECT, check=False).returncode == 0

        return ask

    def test_every_secret_is_a_file_that_git_ignores(self, compose, gateway_service, ignored):
        assert set(gateway_service["secrets"]) == compose["secrets"].keys()
        for secret in compose["secrets"].values():
            path = PROJECT / secret["file"]
            assert ignored(path), path
            assert path.with_name(f"{path.name}.example").is_file()

    def test_examples_and_hint_are_not_ignored(self, ignored):
        for path in (PROJECT / "deploy/secrets").iterdir():
            if path.name == "README.md" or path.suffix == ".example":
                assert not ignored(path), path

    def test_the_hint_makes_each_of_them(self, compose):
        hint = (PROJECT / "deploy/secrets/README.md").read_text()
        for secret in compose["secrets"].values():
            assert f"> {secret['file'].removeprefix('./')}\n" in hint

    def test_secrets_reach_the_gateway_by_file(self, compose, gateway_service):
        for variable, path in gateway_service["environment"].items():
            assert variable.endswith("_FILE")
            assert Path(path).parent == Path("/run/secrets")
            assert Path(path).name in compose["secrets"]


class TestImage:
    def test_the_configuration_is_mounted_where_the_image_looks(self, gateway_service):
        assert f"./deploy/wskeeper.yaml:{IMAGE['WSKEEPER_CONFIG']}:ro" in gateway_service["volumes"]

    def test_it_does_not_run_as_root(self):
        [user] = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
        assert int(user) > 0

    def test_its_python_is_one_the_project_supports(self):
        project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
        versions = set(re.findall(r"^FROM python:(\d\.\d+)", DOCKERFILE, re.MULTILINE))
        assert len(versions) == 1
        assert f"Programming Language :: Python :: {versions.pop()}" in project["classifiers"]

    def test_what_it_copies_exists_and_reaches_the_build(self):
        let_through = (PROJECT / ".dockerignore").read_text().splitlines()
        for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
            for source in sources.split():
                assert (PROJECT / source).exists(), source
                assert f"!{source}" in let_through, source
