"""Building images and running containers: with Docker or Podman, or with buildah where no engine works."""

import contextlib
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pip_settings import pip_mounts

logger = logging.getLogger("docker-test")

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 1200.0


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
        staged = "AS packages" in (ROOT / dockerfile).read_text(encoding="utf-8")
        # buildah finds a LABEL in its cache whose build argument was another
        common = ["buildah", "bud", "--layers" if staged else "--no-cache", "--format", "docker", *self.ISOLATION, "-f", dockerfile]
        common += options({"BASE": self.BASE, **arguments})
        with apt_settings() as apt, pip_settings() as pip:
            if staged:
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
                    status = process.wait(TIMEOUT_S)
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
    """The machine's pip settings as mounts."""
    with pip_mounts(call([sys.executable, "-m", "pip", "config", "list"]), os.environ, ROOT) as mounts:
        yield mounts


def call(command: list[str]) -> str:
    """Run a command of the machine and return what it wrote. Raises CalledProcessError, its output logged."""
    logger.debug("$ %s", shlex.join(command))
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=TIMEOUT_S)
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
        return f"no container engine works here, and there is no {' and no '.join(missing)}"
    return Buildah() if os.getuid() == 0 else "no container engine works here, and buildah with chroot isolation needs root"
