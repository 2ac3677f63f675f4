"""What watches a service and what stands before several: the files in ``docker/``, by the programs that read them."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.helpers import TIMEOUT_S, Answer, _receive_all, read_raw, stream
from tests.gadgets.test_service import QUICK, assert_images
from untrained_recon.errors import ReconError
from untrained_recon.host.exchange import query

DOCKER = Path(__file__).parents[1] / "docker"
MONITORING = DOCKER / "monitoring"


def names_in(text: str) -> set[str]:
    return set(re.findall(r"untrained_recon_\w+", text))


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    return found


def expressions() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def test_dashboard_and_alerts_ask_for_metrics_that_there_are() -> None:
    pytest.importorskip("prometheus_client", reason="metrics need the extra 'service'")
    from gadgets.metrics import PrometheusMetrics

    metrics = PrometheusMetrics("127.0.0.1", None)
    metrics.watch(lambda: {"scans": 0, "waiting": 0, "workers": dict.fromkeys(("total", "live", "ready", "busy", "restarts"), 0)})
    metrics.scan({"outcome": "ok", "seconds": 1.0})
    known = names_in(metrics.pages["/metrics"]().text.decode())
    asked = names_in(" ".join([*expressions(), *(str(variable["query"]) for variable in dashboard()["templating"]["list"])]))
    assert asked <= known
    for name in ("alerts.yml", "alerts_test.yml"):
        assert names_in((MONITORING / name).read_text(encoding="utf-8")) <= known
    assert {name for name in known if name.endswith("_total")} <= asked


def test_the_dashboard_is_whole() -> None:
    """As far as it can be told without Grafana: panels are told apart and do not overlap, and every variable is there."""
    board = dashboard()
    variables = {variable["name"]: variable["type"] for variable in board["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"]))) == set(variables)
    source = {"type": "prometheus", "uid": "${source}"}
    assert variables["source"] == "datasource"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["title"]
        assert all(part["datasource"] == source for part in (panel, *panel["targets"]))
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells


def test_prometheus_takes_the_rules_and_they_fire_when_they_should() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run([promtool, *command], cwd=MONITORING, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_can_read_what_the_dashboard_asks(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    rules = [{"record": f"panel:{n}", "expr": expr.replace("$instance", ".*")} for n, expr in enumerate(expressions())]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    done = subprocess.run([promtool, "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules" in done.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def process(*command: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    started = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.kill()
        started.wait(TIMEOUT_S)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 2 * TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
def test_behind_a_balancer_scans_go_on_when_a_service_is_killed(small_scan: Path) -> None:
    haproxy = shutil.which("haproxy")
    if haproxy is None:
        pytest.skip("haproxy is not installed (Debian's package haproxy)")
    pytest.importorskip("prometheus_client", reason="the balancer asks for /readyz, which needs the extra 'service'")
    ports = {name: free_port() for name in ("a", "b", "check_a", "check_b", "front")}
    data = stream(QUICK, *read_raw(small_scan))

    def send(_: int) -> Answer:
        answer = Answer()
        with socket.create_connection(("127.0.0.1", ports["front"]), timeout=TIMEOUT_S) as sock:
            sock.sendall(data)
            _receive_all(sock, answer)
        return answer

    with ExitStack() as stack, ThreadPoolExecutor(4) as hosts:
        serve = (sys.executable, "-m", "untrained_recon.cli", "serve", "--device", "cpu", "--port")
        services = [stack.enter_context(process(*serve, str(ports[n]), "--metrics-port", str(ports[f"check_{n}"]))) for n in "ab"]
        environment = {f"RECON_{n.upper()}": f"127.0.0.1:{ports[n]}" for n in "ab"}
        environment |= {f"CHECK_{n.upper()}": str(ports[f"check_{n}"]) for n in "ab"}
        for name in "ab":
            wait_until(partial(ready, ports[name]))
        listen = f"127.0.0.1:{ports['front']}"
        stack.enter_context(process(haproxy, "-f", str(DOCKER / "haproxy.cfg"), **environment, LISTEN=listen))
        wait_until(lambda: ready(ports["front"]))
        for answer in hosts.map(send, range(6)):
            assert_images(answer)
        served = [served_by(ports[name]) for name in "ab"]
        assert (sum(served), min(served) > 0) == (6, True)
        services[0].kill()
        services[0].wait(TIMEOUT_S)
        for answer in hosts.map(send, range(4)):
            assert_images(answer)
        assert served_by(ports["b"]) == served[1] + 4


def ready(port: int) -> bool:
    try:
        return bool(json.loads(query("127.0.0.1", port))["ready"])
    except ReconError:
        return False


def served_by(port: int) -> int:
    served: int = json.loads(query("127.0.0.1", port))["served"]
    return served
