"""Build the images and run them: ``make docker-test``.

With Docker or Podman where an engine works; otherwise with buildah, which needs root but no engine, on a base image made by
debootstrap. There the machine's pip and apt settings are mounted for the build, and a check makes sure that none stay in the image.
Where neither can be had nothing is built or tested, the reason is said, and the exit status is :data:`SKIPPED`.
"""

import base64
import contextlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator

from engines import ROOT, Engine, call, find_engine
from pip_settings import MOUNTED

logger = logging.getLogger("docker-test")

IMAGE, OPENRECON = "untrained-recon:test", "untrained-recon:test-openrecon"
LABEL = "com.siemens-healthineers.magneticresonance.openrecon.metadata:1.1.0"
START_TIMEOUT_S = 180.0
SKIPPED = 77  # as test harnesses have it; `make` makes it 2
DEMO = """
untrained-recon simulate -o scan.h5
untrained-recon inspect scan.h5
untrained-recon replay scan.h5 -o images.h5 --png png
untrained-recon compare scan.h5 images.h5 --png panel.png
ls -l images.h5 panel.png png
"""
TRACES = f"""
ls -A /opt /mnt /etc/apt/apt.conf.d
ls /etc/pip.conf /etc/xdg/pip /venv/pip.conf /root/.config /root/.pip 2>/dev/null
grep -rIl {MOUNTED} /etc /home /venv/pyvenv.cfg /venv/lib/python3*/site-packages/*.dist-info 2>/dev/null
touch /venv/x 2>/dev/null && echo writable
true
"""
INTEGRATION = "untrained-recon integration-test --service {address} --cases /cases --junit junit.xml && head -c 300 junit.xml"


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
    assert labels[LABEL] == metadata
    assert json.loads(base64.b64decode(metadata))["reconstruction"]["port"] == 9002
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


def main() -> int:
    """Build, then check one thing after the other; the first that fails ends it. Returns the exit status."""
    logging.basicConfig(level=logging.DEBUG if "--verbose" in sys.argv else logging.INFO, format="%(message)s", stream=sys.stderr)
    engine = find_engine()
    if isinstance(engine, str):
        logger.error("NO IMAGE WAS BUILT OR TESTED: %s", engine)
        return SKIPPED
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
