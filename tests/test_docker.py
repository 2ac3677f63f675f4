"""The files of the container images: sound by themselves, and true to the package."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import compose_spec
import image_test
import pip_settings
import pytest
import yaml

from untrained_recon import __version__
from untrained_recon.cli.serve import serve
from untrained_recon.cli.service import PORTS
from untrained_recon.host.chain import chain_xml
from untrained_recon.site.openrecon import LABEL

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


def listing(settings: dict[str, str]) -> str:
    """As ``pip config list`` prints settings."""
    return "".join(f"{name}={value!r}\n" for name, value in settings.items())


def make_index(folder: Path, up: str) -> Path:
    """An index whose wheels, releases 1 and 2 of ``recon-demo``, lie ``up`` from the pages of its projects."""
    wheels = folder / "simple" / "recon-demo" / up
    for part in (folder / "simple" / "recon-demo", wheels):
        part.mkdir(parents=True, exist_ok=True)
    links = ""
    for release in (1, 2):
        wheel = wheels / f"recon_demo-{release}-py3-none-any.whl"
        info = f"recon_demo-{release}.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: recon-demo\nVersion: {release}\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        links += f'<a href="{up}{wheel.name}">{wheel.name}</a>'
    (folder / "simple" / "recon-demo" / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
    return folder / "simple"


def configured(listed: str, folder: Path, environment: dict[str, str] | None = None) -> tuple[str, dict[str, str], dict[str, str]]:
    """The configuration of a build, its mounts, and the text of every file that is mounted."""
    with pip_settings.pip_mounts(listed, environment or {}, folder) as mounts:
        texts = {target: Path(source).read_text() for source, target in mounts.items() if Path(source).is_file()}
        assert all(Path(source).exists() for source in mounts)
    mounts = {target: source for source, target in mounts.items()}
    return texts["/etc/pip.conf"], mounts, texts


def test_every_file_and_folder_that_pips_settings_name_is_mounted(tmp_path: Path) -> None:
    for name in ("wheels", "more: wheels", "pages"):
        (tmp_path / name).mkdir()
    for name in ("ca.pem", "client.pem", "pages/list.html", "local-1.tar.gz"):
        (tmp_path / name).write_text(name)
    (tmp_path / "nested.txt").write_text("-c constraints.txt\nlocal @ file:" + str(tmp_path / "local-1.tar.gz"))
    (tmp_path / "constraints.txt").write_text(f"demo<2  # not {tmp_path}\n--constraint nested.txt\n-r=absent.txt\n-f wheels\n")
    index = make_index(tmp_path / "index", "../../files/")
    config, mounts, texts = configured(
        listing(
            {
                ":env:.client-cert": str(tmp_path / "client.pem"),
                ":env:.find-links": f"wheels {(tmp_path / 'more: wheels').as_uri()} pages/list.html https://host/links",
                ":env:.no-index": "",
                "global.cert": str(tmp_path / "ca.pem"),
                "global.constraint": f"{tmp_path / 'constraints.txt'}\nhttps://host/c.txt",
                "global.find-links": "overridden",
                "global.no-index": "false",
                "global.timeout": "15",
                "install.extra-index-url": f"{index.as_uri()} {tmp_path / 'absent'}",
                "install.requirement": "constraints.txt",
                "install.target": str(tmp_path),
            }
        ),
        tmp_path,
    )
    places = {source.removeprefix(f"{tmp_path}/"): target for target, source in mounts.items()}
    colon = next(target for target in mounts if target.endswith("more_ wheels"))
    constraints, nested = re.findall(r"/mnt/pip/\d\.txt", config + texts[re.findall(r"/mnt/pip/\d\.txt", config)[0]])
    assert config.splitlines() == [
        "[global]",
        f"cert = {places['ca.pem']}",
        f"constraint = {constraints}",
        "    https://host/c.txt",
        "no-index = false",
        "timeout = 15",
        f"client-cert = {places['client.pem']}",
        f"find-links = {places['wheels']}",
        f"    {Path(colon).as_uri()}",
        f"    {places['pages']}/list.html",
        "    https://host/links",
        "[install]",
        f"extra-index-url = file://{places['index']}/simple",
    ]
    assert texts[constraints].splitlines() == [f"demo<2  # not {tmp_path}", f"--constraint {nested}", "", f"-f {places['wheels']}"]
    assert texts[nested].splitlines() == [f"-c {constraints}", f"local @ file://{places['local-1.tar.gz']}"]
    assert all(target.startswith("/mnt/pip/") for target in mounts if target != "/etc/pip.conf")
    assert len(mounts) == 10  # and nothing else


def test_certificates_may_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    environment = {"REQUESTS_CA_BUNDLE": str(tmp_path / "ca.pem")}
    config, mounts, _ = configured("", tmp_path, environment)
    assert config == "[global]\ncert = /mnt/pip/0/ca.pem\n"
    assert mounts["/mnt/pip/0/ca.pem"] == str(tmp_path / "ca.pem")
    config, mounts, _ = configured(listing({"global.cert": "absent.pem"}), tmp_path, environment)
    assert (config, len(mounts)) == ("[global]\n", 1)


def test_pip_finds_through_the_mounts_what_the_machine_offers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip_settings, "MOUNTED", str(tmp_path / "image"))
    index = make_index(tmp_path / "machine", "../../files/")
    (tmp_path / "machine" / "constraints.txt").write_text("recon-demo<2\n")
    machine = {"index-url": index.as_uri(), "extra-index-url": index.as_uri(), "find-links": str(tmp_path / "machine")}
    machine["constraint"] = str(tmp_path / "machine" / "constraints.txt")  # replaces that of the machine that tests
    listed = listing({f"global.{key}": value for key, value in machine.items()})
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    with pip_settings.pip_mounts(listed, {}, tmp_path) as mounts:
        for source, target in mounts.items():
            if target == "/etc/pip.conf":
                monkeypatch.setenv("PIP_CONFIG_FILE", source)
                assert "machine/constraints.txt" not in Path(source).read_text()
            else:
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                Path(target).symlink_to(source)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(tmp_path / "out"), "recon-demo"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["recon_demo-1-py3-none-any.whl"]


def test_without_anything_to_build_with_the_test_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_test, "find_engine", lambda: "no engine")
    assert image_test.main() == image_test.SKIPPED != 0


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (1, 1), (image_test.SKIPPED, 0)])
def test_ci_may_go_without_images_and_says_so(tmp_path: Path, status: int, expected: int) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(DOCKER.parent / ".ci" / "run", tmp_path / ".ci" / "run")
    for path, text in (("bin/make", "exit 0"), ("bin/docker", "exit 0"), (".venv/bin/python", f"exit {status}")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / path).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run([tmp_path / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == expected
    assert ("DOCKER-TEST SKIPPED: no image was built or tested" in done.stderr) == (status == image_test.SKIPPED)


def test_whatever_is_published_is_for_this_machine_alone() -> None:
    published = [port for service in services().values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    command = services()["recon"]["command"]
    assert services()["recon"]["ports"] == [f"127.0.0.1:9180:{command[command.index('--web-port') + 1]}"]
    serve.make_context("serve", command[2:])  # its options are there


def test_the_service_may_do_little_and_has_time_to_end() -> None:
    recon = services()["recon"]
    assert (recon["read_only"], recon["cap_drop"], recon["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    assert recon["mem_limit"]
    assert recon["pids_limit"]
    (grace,) = [option.default for option in serve.params if option.name == "grace"]
    assert isinstance(grace, float)
    assert float(recon["stop_grace_period"].removesuffix("s")) > grace
