"""Build the images and run them: ``make docker-test``.

With Docker or Podman where an engine works; otherwise with buildah, which needs root but no engine, on a base image made by
debootstrap. There the machine's pip and apt settings are mounted for the build, and a check makes sure that none stay in the image.
Where neither can be had the reason is said and nothing is tested.
"""

import base64
import contextlib
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

logger = logging.getLogger("docker-test")

ROOT = Path(__file__).resolve().parents[1]
IMAGE, OPENRECON = "untrained-recon:test", "untrained-recon:test-openrecon"
LABEL = "com.siemens-healthineers.magneticresonance.openrecon.metadata:1.1.0"
RUN_TIMEOUT_S = 600.0
START_TIMEOUT_S = 60.0
DEMO = """
untrained-recon simulate -o scan.h5
untrained-recon inspect scan.h5
untrained-recon replay scan.h5 -o images.h5 --png png
untrained-recon compare scan.h5 images.h5 --png panel.png
ls -l images.h5 panel.png png
"""
TRACES = """
ls -A /opt /mnt /etc/apt/apt.conf.d
ls /etc/pip.conf /etc/xdg/pip /root/.config 2>/dev/null
touch /venv/x 2>/dev/null && echo writable
true
"""
INTEGRATION = "untrained-recon integration-test --service {address} --cases /cases --junit junit.xml && head -c 300 junit.xml"


class Engine(Protocol):
    """What builds images and runs containers; containers reach each other's ports on 127.0.0.1."""

    def build(self, tag: str, dockerfile: str, context: str, arguments: dict[str, str]) -> None:
        """Build an image."""

    def settings(self, tag: str) -> dict[str, object]:
        """The image's ``Config``, and its ``Size`` as text."""

    def run(self, tag: str, command: list[str], beside: str = "") -> str:
        """Run a command in a new container (``beside`` another one) and return what it wrote. Raises CalledProcessError."""

    def serve(self, tag: str) -> contextlib.AbstractContextManager[str]:
        """The image's own command in a container in the background; SIGTERM at the end, and exit status 0 then."""


class Docker:
    """Docker, or Podman, which takes the same commands."""

    def __init__(self, program: str) -> None:
        self._program = program

    def build(self, tag: str, dockerfile: str, context: str, arguments: dict[str, str]) -> None:
        """See :class:`Engine`."""
        call([self._program, "build", *options(arguments), "-t", tag, "-f", dockerfile, context])

    def settings(self, tag: str) -> dict[str, object]:
        """See :class:`Engine`."""
        (found,) = json.loads(call([self._program, "image", "inspect", tag]))
        return {**found["Config"], "Size": f"{found['Size'] / 1e9:.2f} GB"}

    def run(self, tag: str, command: list[str], beside: str = "") -> str:
        """See :class:`Engine`."""
        network = ["--network", f"container:{beside}"] if beside else []
        return call([self._program, "run", "--rm", *network, tag, *command])

    @contextlib.contextmanager
    def serve(self, tag: str) -> Iterator[str]:
        """See :class:`Engine`."""
        container = call([self._program, "run", "--detach", tag]).strip()
        try:
            yield container
            call([self._program, "stop", container])
            assert call([self._program, "inspect", "--format", "{{.State.ExitCode}}", container]).strip() == "0"
        finally:
            logger.debug("its log:\n%s", call([self._program, "logs", container]))
            call([self._program, "rm", "--force", container])


class Buildah:
    """Buildah with chroot isolation on the machine's network; the base image comes from debootstrap."""

    BASE = "localhost/debian:bookworm-slim"
    ISOLATION = ("--isolation", "chroot", "--network", "host")

    def __init__(self) -> None:
        if self.BASE not in call(["buildah", "images", "--format", "{{.Name}}:{{.Tag}}"]).split():
            self._make_base()

    def build(self, tag: str, dockerfile: str, context: str, arguments: dict[str, str]) -> None:
        """See :class:`Engine`; the packages first, with the machine's settings mounted, so that the image is built without them."""
        common = ["buildah", "bud", "--layers", "--format", "docker", *self.ISOLATION, "-f", dockerfile]
        common += options({"BASE": self.BASE, **arguments})
        with apt_settings() as apt, pip_settings() as pip:
            if "AS packages" in (ROOT / dockerfile).read_text(encoding="utf-8"):
                call([*common, *volumes({**apt, **pip}), "--target", "packages", context])
            call([*common, *volumes(apt), "-t", tag, context])

    def settings(self, tag: str) -> dict[str, object]:
        """See :class:`Engine`."""
        size = call(["buildah", "images", "--json", tag])
        found = json.loads(call(["buildah", "inspect", "--type", "image", tag]))["Docker"]["config"]
        return {**found, "Size": json.loads(size)[0]["size"]}

    def run(self, tag: str, command: list[str], beside: str = "") -> str:
        """See :class:`Engine`."""
        with self._container(tag) as container:
            return call(["buildah", "run", *self.ISOLATION, container, "--", *command])

    @contextlib.contextmanager
    def serve(self, tag: str) -> Iterator[str]:
        """See :class:`Engine`."""
        command = self.settings(tag)["Cmd"]
        assert isinstance(command, list)
        with self._container(tag) as container, tempfile.TemporaryFile("w+") as log:
            # exec: the signal reaches the service, as a container's first process
            shell = ["sh", "-c", f"echo $$ > pid; exec {shlex.join(command)}"]
            with subprocess.Popen(["buildah", "run", *self.ISOLATION, container, "--", *shell], stderr=log) as process:
                try:
                    yield container
                finally:
                    root = Path(call(["buildah", "mount", container]).strip())
                    os.kill(int((root / "home/recon/pid").read_text()), 15)
                    status = process.wait(RUN_TIMEOUT_S)
                    log.seek(0)
                    logger.log(logging.DEBUG if status == 0 else logging.ERROR, "its log:\n%s", log.read())
            assert status == 0, f"the service ended with exit status {status}"

    def _make_base(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            tree = f"{folder}/tree"
            call(["debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", tree, *debian_mirror()])
            shutil.rmtree(f"{tree}/var/cache/apt/archives")
            archive = shutil.make_archive(f"{folder}/base", "tar", tree)
            container = call(["buildah", "from", "scratch"]).strip()
            call(["buildah", "add", container, archive, "/"])
            call(["buildah", "commit", "--rm", container, self.BASE])

    @contextlib.contextmanager
    def _container(self, tag: str) -> Iterator[str]:
        container = call(["buildah", "from", "--pull-never", tag]).strip()
        try:
            yield container
        finally:
            call(["buildah", "rm", container])


def debian_mirror() -> list[str]:
    """The first Debian mirror of the machine's apt sources; none, for debootstrap's own choice, where there is none."""
    sources = call(["apt-get", "indextargets", "--format", "$(REPO_URI)|$(ORIGIN)|$(LABEL)"])
    return [line.partition("|")[0] for line in sources.splitlines() if line.endswith("|Debian|Debian")][:1]


@contextlib.contextmanager
def apt_settings() -> Iterator[dict[str, str]]:
    """The machine's apt settings for the network, and its certificates, as mounts over folders that the base image has anyway."""
    with tempfile.TemporaryDirectory() as folder:
        text = call(["apt-config", "dump", "Acquire::http", "Acquire::https"])
        (Path(folder) / "machine.conf").write_text(text, encoding="utf-8")
        os.chmod(folder, 0o755)
        yield {folder: "/etc/apt/apt.conf.d", "/etc/ssl/certs": "/etc/ssl/certs"}


@contextlib.contextmanager
def pip_settings() -> Iterator[dict[str, str]]:
    """The machine's pip settings as mounts: one configuration file, and the local folders that it names."""
    lines = call([sys.executable, "-m", "pip", "config", "list"]).splitlines()
    settings = {}
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):  # the environment overrides files
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'").replace("\\n", " ")
    mounts = {}
    for name in ("find-links", "index-url", "extra-index-url"):
        for word in settings.get(name, "").split():
            folder = Path(word.removeprefix("file://"))
            if folder.is_dir():  # an index refers to files beside itself
                folder = folder.parent if folder.name == "simple" else folder
                mounts[str(folder)] = str(folder)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("\n".join(["[global]", *(f"{name} = {value.replace(' ', chr(10) + ' ')}" for name, value in settings.items())]))
        file.flush()
        os.chmod(file.name, 0o644)
        yield {**mounts, file.name: "/etc/pip.conf"}


def call(command: list[str]) -> str:
    """Run a command of the machine and return what it wrote. Raises CalledProcessError, its output logged."""
    logger.debug("$ %s", shlex.join(command))
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=2 * RUN_TIMEOUT_S)
    if done.returncode != 0:
        logger.error("%s\n%s\n%s", shlex.join(command), done.stdout, done.stderr)
        done.check_returncode()
    return done.stdout


def volumes(mounts: dict[str, str]) -> list[str]:
    """Mounts, read-only, on the command line."""
    return [f"--volume={path}:{at}:ro" for path, at in mounts.items()]


def options(arguments: dict[str, str]) -> list[str]:
    """Build arguments on the command line."""
    return [f"--build-arg={name}={value}" for name, value in arguments.items()]


def find_engine() -> Engine | str:
    """What can build and run here, or why nothing can."""
    for program in ("docker", "podman"):
        probe = [program, "info"] if program == "docker" else [program, "run", "--rm", "debian:bookworm-slim", "true"]
        if shutil.which(program) and subprocess.run(probe, capture_output=True).returncode == 0:
            return Docker(program)
    missing = [program for program in ("buildah", "debootstrap") if shutil.which(program) is None]
    if missing:
        return f"no container engine works here, and {' and '.join(missing)} is not installed"
    return Buildah() if os.getuid() == 0 else "no container engine works here, and buildah with chroot isolation needs root"


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Say what is done, and how long it took."""
    logger.info("== %s", name)
    start = time.monotonic()
    yield
    logger.info("== %s: done in %.0f s", name, time.monotonic() - start)


def check_image(engine: Engine, version: str, revision: str) -> None:
    """Labels, user, health check, default command; nothing of the machine's settings."""
    settings = engine.settings(IMAGE)
    labels = settings["Labels"]
    assert isinstance(labels, dict)
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.revision"] == revision
    assert settings["User"] == "10001"
    assert settings["Healthcheck"]
    logger.info("size %s, command %s", settings["Size"], settings["Cmd"])
    assert engine.run(IMAGE, ["id", "-u"]).strip() == "10001"
    assert version in engine.run(IMAGE, ["untrained-recon", "--version"])
    found = engine.run(IMAGE, ["sh", "-c", TRACES])
    logger.info("folders that the build could have left something in:\n%s", found.strip())
    assert not re.search("pip|wheels|machine.conf|writable", found), "the build left something in the image"


def check_service(engine: Engine) -> None:
    """The image's own command, its health, and the integration test against it from a second container."""
    with engine.serve(IMAGE) as service:
        wait_for_health(engine, IMAGE, "localhost:9100", service)
        logger.info(engine.run(IMAGE, ["sh", "-c", INTEGRATION.format(address="localhost:9100")], beside=service))


def check_openrecon(engine: Engine) -> None:
    """The variant for Open Recon carries the label that the package makes, and listens."""
    metadata = engine.run(IMAGE, ["untrained-recon", "openrecon-label", "--base64"]).strip()
    engine.build(OPENRECON, "docker/openrecon/Dockerfile", "docker/openrecon", {"IMAGE": IMAGE, "METADATA": metadata})
    labels = engine.settings(OPENRECON)["Labels"]
    assert isinstance(labels, dict)
    assert json.loads(base64.b64decode(labels[LABEL]))["reconstruction"]["port"] == 9002
    with engine.serve(OPENRECON) as service:
        wait_for_health(engine, OPENRECON, "localhost:9002", service)


def wait_for_health(engine: Engine, tag: str, address: str, beside: str) -> None:
    """Ask until the service answers. Raises TimeoutError."""
    deadline = time.monotonic() + START_TIMEOUT_S
    asking = f"untrained-recon health {address} 2>&1 || true"
    while '"version"' not in (answer := engine.run(tag, ["sh", "-c", asking], beside)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the service does not answer: {answer}")
        time.sleep(1.0)
    logger.info("health: %s", answer.strip())


def main() -> None:
    """Build, then check one thing after the other; the first that fails ends it."""
    logging.basicConfig(level=logging.DEBUG if "--verbose" in sys.argv else logging.INFO, format="%(message)s", stream=sys.stderr)
    engine = find_engine()
    if isinstance(engine, str):
        logger.warning("DOCKER-TEST SKIPPED, NO IMAGE WAS BUILT OR TESTED: %s", engine)
        return
    logger.info("with %s", type(engine).__name__)
    version = re.findall('__version__ = "(.*)"', (ROOT / "untrained_recon/__init__.py").read_text(encoding="utf-8"))[0]
    revision = call(["git", "rev-parse", "HEAD"]).strip()
    with step("build"):
        arguments = {"VERSION": version, "REVISION": revision, "TORCH_INDEX": os.environ.get("TORCH_INDEX", "")}
        engine.build(IMAGE, "docker/Dockerfile", ".", arguments)
    with step("image"):
        check_image(engine, version, revision)
    with step("demo"):
        logger.info(engine.run(IMAGE, ["sh", "-ec", DEMO]))
    with step("service and integration test"):
        check_service(engine)
    with step("open recon"):
        check_openrecon(engine)
    logger.info("docker-test passed")


if __name__ == "__main__":
    main()
