"""The deployment's files, parsed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
DEMO_KEY = "the-demo-key-of-the-deployment-tests"


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    return yaml.safe_load((PROJECT / "docker-compose.yml").read_text())


@pytest.fixture(scope="session")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return compose["services"]


@pytest.fixture(scope="session")
def gateway_service(services: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return services["gateway"]


@pytest.fixture(scope="session")
def example_services(services: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The services behind the gateway: what runs from its image and is not it."""
    return {
        name: service
        for name, service in services.items()
        if "build" in service and name != "gateway"
    }


@pytest.fixture
def secrets(tmp_path: Path, gateway_service: dict[str, Any]) -> dict[str, str]:
    """The gateway's environment as Compose sets it, its secrets in files of the test's."""
    values = {"demo_key": DEMO_KEY, "admin_token": "an-admin-token-of-the-deployment-tests"}
    environment = {}
    for name, path in gateway_service["environment"].items():
        secret = path.removeprefix("/run/secrets/")
        file = tmp_path / secret
        file.write_text(values[secret] + "\n")
        environment[name] = str(file)
    return environment
