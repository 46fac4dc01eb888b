"""The manifests agree with each other, with the image and with the gateway."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from proxy.config.load import load
from tests.deploy.test_deploy_compose import DOCKERFILE, EVERYWHERE, IMAGE
from tests.harness import programs
from tests.harness.gateway import Gateway

if TYPE_CHECKING:
    from proxy.config.model import Config

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "deploy/kubernetes"
SECRETS = {"demo_key": "the-demo-key-of-the-deployment-tests", "admin_token": "x" * 40}


def read(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


KUSTOMIZATION = read("kustomization.yaml")[0]
OBJECTS = [one for name in KUSTOMIZATION["resources"] for one in read(name)]
EVERYTHING = [*OBJECTS, *read("secret.example.yaml"), *read("servicemonitor.yaml")]


def named(kind: str, name: str = "wskeeper") -> dict[str, Any]:
    [found] = [one for one in EVERYTHING if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pod(name: str) -> dict[str, Any]:
    return named("Deployment", name)["spec"]["template"]["spec"]


def container(name: str) -> dict[str, Any]:
    [only] = pod(name)["containers"]
    return only


def ports(name: str) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container(name)["ports"]}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The gateway's variables: the image's, then the pod's, with the Secret in a folder here."""
    variables = {name: value for name, value in IMAGE.items() if name.startswith("WSKEEPER_")}
    variables |= {one["name"]: one["value"] for one in container("wskeeper")["env"]}
    [mounted] = [
        mount["mountPath"]
        for mount in container("wskeeper")["volumeMounts"]
        if mount["name"] == "secrets"
    ]
    for secret, value in SECRETS.items():
        (tmp_path / secret).write_text(value)
    return {name: value.replace(mounted, str(tmp_path)) for name, value in variables.items()}


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """The ConfigMap's file."""
    file = tmp_path / Path(IMAGE["WSKEEPER_CONFIG"]).name
    file.write_text(named("ConfigMap")["data"][file.name])
    return file


@pytest.fixture
def config(environment: dict[str, str], configuration: Path) -> Config:
    loaded = load(configuration, environ=environment)
    assert loaded.warnings == ()
    return loaded.config


def test_every_object_is_whole_and_every_file_is_used() -> None:
    for one in EVERYTHING:
        assert {"apiVersion", "kind", "metadata"} <= one.keys()
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", one["metadata"]["name"])
    identities = [(one["kind"], one["metadata"]["name"]) for one in EVERYTHING]
    assert len(identities) == len(set(identities))
    assert named("Namespace")["metadata"]["name"] == KUSTOMIZATION["namespace"]
    by_hand = {"kustomization.yaml", "secret.example.yaml", "servicemonitor.yaml"}
    files = {path.name for path in FOLDER.iterdir()}
    assert files == {*KUSTOMIZATION["resources"], *by_hand}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")
def test_kubectl_puts_all_into_the_namespace() -> None:
    ran = subprocess.run(
        ["kubectl", "kustomize", FOLDER], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    made = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(ran.stdout)}
    assert made.keys() == {(one["kind"], one["metadata"]["name"]) for one in OBJECTS}
    del made["Namespace", KUSTOMIZATION["namespace"]]
    assert {one["metadata"]["namespace"] for one in made.values()} == {KUSTOMIZATION["namespace"]}


def test_check_finds_nothing_wrong(environment: dict[str, str], configuration: Path) -> None:
    variables = {**environment, "WSKEEPER_CONFIG": str(configuration)}
    ran = programs.run("check", folder=configuration.parent, environment=variables)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout == "echo  /echo → ws://echo:9001/echo\n"


class TestGateway:
    def test_its_ports_are_those_of_its_listeners(self, config: Config) -> None:
        assert config.listen.host == config.metrics.listen.host == EVERYWHERE
        assert ports("wskeeper") == {
            "websocket": config.listen.port,
            "metrics": config.metrics.listen.port,
        }
        assert config.admin.listen.is_loopback

    def test_its_probes_ask_what_there_is(self) -> None:
        asked = {
            name: container("wskeeper")[name]["httpGet"]
            for name in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert asked == {
            "startupProbe": {"path": "/livez", "port": "metrics"},
            "livenessProbe": {"path": "/livez", "port": "metrics"},
            "readinessProbe": {"path": "/readyz", "port": "metrics"},
        }

    def test_stopping_leaves_time_to_drain(self, config: Config) -> None:
        grace = pod("wskeeper")["terminationGracePeriodSeconds"]
        assert grace > config.drain.timeout + config.timeouts.close

    def test_it_is_taken_out_before_it_stops_to_listen(self, config: Config) -> None:
        probe = container("wskeeper")["readinessProbe"]
        assert config.drain.delay > probe["periodSeconds"] * probe["failureThreshold"]

    def test_its_configuration_and_its_secrets_are_mounted_where_it_looks(self) -> None:
        mounts = {one["name"]: one["mountPath"] for one in container("wskeeper")["volumeMounts"]}
        volumes = {one["name"]: one for one in pod("wskeeper")["volumes"]}
        assert mounts.keys() == volumes.keys()
        assert volumes["configuration"]["configMap"] == {"name": "wskeeper"}
        assert mounts["configuration"] == str(Path(IMAGE["WSKEEPER_CONFIG"]).parent)
        assert volumes["secrets"]["secret"]["secretName"] == "wskeeper"
        named_files = {
            Path(one["value"])
            for one in container("wskeeper")["env"]
            if one["name"].endswith("_FILE")
        }
        assert {str(file.parent) for file in named_files} == {mounts["secrets"]}
        assert {file.name for file in named_files} == named("Secret")["stringData"].keys()

    def test_the_example_of_a_secret_has_none(self) -> None:
        assert set(named("Secret")["stringData"].values()) == {""}
        assert "secret.example.yaml" not in KUSTOMIZATION["resources"]

    def test_it_needs_no_disk(self, config: Config) -> None:
        assert config.store == "memory:"

    def test_it_runs_as_the_user_of_the_image(self) -> None:
        [user] = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
        assert pod("wskeeper")["securityContext"]["runAsUser"] == int(user)


class TestPods:
    @pytest.mark.parametrize("name", ["wskeeper", "echo"])
    def test_they_are_confined(self, name: str) -> None:
        assert pod(name)["automountServiceAccountToken"] is False
        assert pod(name)["securityContext"]["runAsNonRoot"] is True
        assert pod(name)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container(name)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "limits" in container(name)["resources"]

    @pytest.mark.parametrize("name", ["wskeeper", "echo"])
    def test_their_image_is_that_of_this_version(self, name: str) -> None:
        version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
        assert container(name)["image"] == f"wskeeper:{version}"

    @pytest.mark.parametrize("name", ["wskeeper", "echo"])
    def test_whoever_selects_them_finds_them(self, name: str) -> None:
        labels = named("Deployment", name)["spec"]["template"]["metadata"]["labels"]
        assert named("Deployment", name)["spec"]["selector"]["matchLabels"] == labels
        assert named("Service", name)["spec"]["selector"] == labels
        for port in named("Service", name)["spec"]["ports"]:
            assert port["targetPort"] in ports(name)

    def test_one_of_them_is_always_there(self) -> None:
        assert named("Deployment")["spec"]["replicas"] > 1
        budget = named("PodDisruptionBudget")["spec"]
        labels = named("Deployment")["spec"]["template"]["metadata"]["labels"]
        assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
        assert named("Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


class TestNetwork:
    def test_routes_lead_to_the_service(self, config: Config) -> None:
        for route in config.routes:
            target = route.upstream.target
            service = named("Service", target.host)["spec"]
            assert target.port in {port["port"] for port in service["ports"]}
            command = container(target.host)["command"]
            assert command[-1] == f"{EVERYWHERE}:{ports(target.host)['websocket']}"

    def test_the_gateway_is_the_only_way_to_the_service(self) -> None:
        policy = named("NetworkPolicy", "service-by-gateway-alone")["spec"]
        assert policy["podSelector"]["matchLabels"] == labels_of("echo")
        [rule] = policy["ingress"]
        assert rule["from"] == [{"podSelector": {"matchLabels": labels_of("wskeeper")}}]
        assert rule["ports"] == [{"protocol": "TCP", "port": ports("echo")["websocket"]}]
        assert policy["policyTypes"] == ["Ingress", "Egress"]

    def test_the_gateway_reaches_the_service_and_names(self) -> None:
        policy = named("NetworkPolicy", "gateway")["spec"]
        assert policy["podSelector"]["matchLabels"] == labels_of("wskeeper")
        service, names = policy["egress"]
        assert service["to"] == [{"podSelector": {"matchLabels": labels_of("echo")}}]
        assert service["ports"] == [{"protocol": "TCP", "port": ports("echo")["websocket"]}]
        assert {port["port"] for port in names["ports"]} == {53}

    def test_the_gateway_is_reached_by_clients_and_prometheus(self) -> None:
        clients, prometheus = named("NetworkPolicy", "gateway")["spec"]["ingress"]
        assert clients["ports"] == [{"protocol": "TCP", "port": ports("wskeeper")["websocket"]}]
        assert prometheus["ports"] == [{"protocol": "TCP", "port": ports("wskeeper")["metrics"]}]
        assert prometheus["from"]

    def test_prometheus_finds_the_service(self) -> None:
        monitor = named("ServiceMonitor")["spec"]
        labels = named("Service")["metadata"]["labels"]
        assert monitor["selector"]["matchLabels"] == labels
        # Alerts ask for the job `wskeeper`.
        assert labels[monitor["jobLabel"]] == "wskeeper"
        [endpoint] = monitor["endpoints"]
        assert endpoint["port"] in {port["name"] for port in named("Service")["spec"]["ports"]}


def labels_of(name: str) -> dict[str, str]:
    return named("Deployment", name)["spec"]["template"]["metadata"]["labels"]


def test_it_runs(environment: dict[str, str], configuration: Path, tmp_path: Path) -> None:
    """As in a pod, but for its addresses."""
    config = yaml.safe_load(configuration.read_text())
    config |= {"admin": {"listen": "127.0.0.1:0"}, "metrics": {"listen": "127.0.0.1:0"}}
    variables = {**environment, "WSKEEPER_LISTEN": "127.0.0.1:0"}
    with Gateway(tmp_path, config, environment=variables) as gateway:
        heard = gateway.wait_for_event("listening", listener="metrics")
        ran = programs.run("healthcheck", "--admin", f"http://{heard['address']}", folder=tmp_path)
        assert ran.returncode == 0
