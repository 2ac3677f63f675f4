"""The files of the container images: sound by themselves, and true to the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from untrained_recon import __version__
from untrained_recon.chain import chain_xml
from untrained_recon.cli_serve import serve
from untrained_recon.cli_service import PORTS
from untrained_recon.openrecon import LABEL

DOCKER = Path(__file__).parents[1] / "docker"
DOCKERFILES = sorted(DOCKER.rglob("Dockerfile"))
COMPOSE = sorted(DOCKER.glob("compose*.yml"))


def interpolated(path: Path) -> str:
    """The file with the default of every ``${NAME:-default}``."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", path.read_text(encoding="utf-8"))


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(interpolated(DOCKER / "compose.yml"))["services"]
    return found


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda p: str(p.relative_to(DOCKER)))
def test_dockerfiles_are_clean(path: Path) -> None:
    hadolint = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", COMPOSE, ids=lambda p: p.name)
def test_compose_files_follow_the_specification(path: Path) -> None:
    text = interpolated(path)
    if path.name == "compose.gpu.yml":  # lies over compose.yml
        assert set(yaml.safe_load(text)["services"]) <= set(services())
    compose_spec.PyCompose.from_yaml(text)


def test_compose_refers_to_what_is_there() -> None:
    for service in services().values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in ("./raw", "./out") or (DOCKER / source).exists()
        if "build" in service:
            dockerfile = (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).read_text(encoding="utf-8")
            assert all(f"ARG {name}" in dockerfile for name in service["build"]["args"])


def test_the_chain_connects_to_the_service() -> None:
    assert "recon" in services()
    chain = chain_xml("buffers", "uint16", {}, ("recon", PORTS["gadgetron"]))
    assert (DOCKER / "chain.xml").read_text(encoding="utf-8") == chain


@pytest.mark.parametrize(("path", "port"), [("Dockerfile", PORTS["gadgetron"]), ("openrecon/Dockerfile", PORTS["mrd"])])
def test_images_listen_and_are_asked_where_the_service_listens(path: str, port: int) -> None:
    text = (DOCKER / path).read_text(encoding="utf-8")
    for pattern in (rf"EXPOSE {port}\n", rf'"--port", "{port}"', rf'"health", "localhost:{port}"'):
        assert re.search(pattern, text)


def test_the_default_of_the_version_label_is_the_version() -> None:
    assert f"ARG VERSION={__version__}\n" in (DOCKER / "Dockerfile").read_text(encoding="utf-8")


def test_the_label_of_open_recon_has_its_name() -> None:
    assert f"LABEL {LABEL}=" in (DOCKER / "openrecon" / "Dockerfile").read_text(encoding="utf-8")


def test_the_service_may_do_little_and_has_time_to_end() -> None:
    recon = services()["recon"]
    assert (recon["read_only"], recon["cap_drop"], recon["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    assert recon["mem_limit"]
    assert recon["pids_limit"]
    (grace,) = [option.default for option in serve.params if option.name == "grace"]
    assert isinstance(grace, float)
    assert float(recon["stop_grace_period"].removesuffix("s")) > grace
