"""The command that runs the resident service."""

import contextlib
import ipaddress
import logging
import os
import resource
import signal
import sys
from pathlib import Path

import click

from untrained_recon.cli.options import parse_assignments
from untrained_recon.cli.service import PORTS
from untrained_recon.memory import GIB

DEFAULT_LIMITS = {"scan.time_budget_s": 1800.0, "compute.at_once": 8.0}

HOSTS = ("127.0.0.1", "::1")
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.option("--host", "hosts", multiple=True, default=HOSTS, show_default=True, help="Addresses; repeatable.")
@click.option(
    "--protocol", type=click.Choice(["gadgetron", "mrd"]), default="gadgetron", show_default=True, help="mrd: FIRE, Open Recon."
)
@click.option("--port", type=click.IntRange(0, 65535), show_default="9100, 9002 with --protocol mrd", help="0: any that is free.")
@click.option("--device", "devices", multiple=True, metavar="cpu|cuda:N", help="Devices to fit on; default: all GPUs, or the CPU.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Fits at a time on each device.")
@click.option("--max-scans", type=click.IntRange(1), default=64, show_default=True, help="Scans at a time.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Serve Prometheus metrics, /healthz and /readyz on this port.")
@click.option("--web-port", type=click.IntRange(1, 65535), help="Serve a page that shows the scans, and what --metrics-port does.")
@click.option("--web-host", default="127.0.0.1", show_default=True, help="Address of the page. Who can reach it sees the images.")
@click.option("--web-name", "web_names", multiple=True, help="Name of this machine in browsers that reach the page; repeatable.")
@click.option("--web-patient-data", is_flag=True, help="Show on the page whose scan it is: name, id, study, protocol.")
@click.option("--web-downloads", is_flag=True, help="Let the page offer images and records; keeps up to 512 MiB of images.")
@click.option("--grace", type=click.FloatRange(0), default=60.0, show_default=True, help="Seconds for running scans after SIGTERM.")
@click.option("--allow", multiple=True, metavar="CIDR", help="Networks that may connect; repeatable.  [default: all]")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="KEY.PATH=VALUE",
    help="Most that a scan may ask for, of any setting that is a number; repeatable."
    "  [default: scan.time_budget_s=1800, compute.at_once=8]",
)
@click.option("--config-dir", type=FOLDER, help="Folder of the files that scans may name as `config` or `unet.weights`.")
@click.option("--memory", type=click.FloatRange(0.01), help="GiB for all scans.  [default: 40 % of what there is]")
@click.option("--scan-memory", type=click.FloatRange(0.01), help="GiB for one scan.  [default: half of that]")
@click.option("--header-timeout", type=click.FloatRange(0.1), default=60.0, show_default=True, help="Seconds until the header.")
@click.option("--idle-timeout", type=click.FloatRange(0.1), default=900.0, show_default=True, help="Seconds of a silent host.")
@click.option("--hang-timeout", type=click.FloatRange(1), default=300.0, show_default=True, help="Of a worker without progress.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="json: an object a line.")
@click.option(
    "--log-level",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]),
    default="INFO",
    show_default=True,
    help="Least that is logged.",
)
def serve(
    hosts: tuple[str, ...],
    protocol: str,
    port: int | None,
    devices: tuple[str, ...],
    workers: int,
    max_scans: int,
    metrics_port: int | None,
    web_port: int | None,
    web_host: str,
    web_names: tuple[str, ...],
    web_patient_data: bool,
    web_downloads: bool,
    grace: float,
    allow: tuple[str, ...],
    limits: tuple[str, ...],
    config_dir: Path | None,
    memory: float | None,
    scan_memory: float | None,
    header_timeout: float,
    idle_timeout: float,
    hang_timeout: float,
    log_format: str,
    log_level: str,
) -> None:
    """Listen for Gadgetron chains that connect (see `chain --connect`), or for scanners, with warm workers, until SIGTERM.

    There is no authentication: whoever can connect can have images made, and whoever can reach the page sees them. Listen on
    loopback or a network of trusted hosts.
    """
    import torch

    from gadgets.metrics import PrometheusMetrics
    from gadgets.mrd import MRD
    from gadgets.service import GADGETRON, Policy, Service
    from untrained_recon.logs import logging_to
    from untrained_recon.recon.plane import pick_device
    from untrained_recon.serving.memory import Budget, default_budget
    from untrained_recon.serving.pool import FitPool
    from untrained_recon.serving.rules import Rules
    from untrained_recon.serving.supervision import Watch
    from untrained_recon.web import Web

    networks = _networks(allow)
    rules = Rules({**DEFAULT_LIMITS, **_numbers(limits)}, config_dir)
    found = devices or tuple(f"cuda:{n}" for n in range(torch.cuda.device_count())) or ("cpu",)
    slots = [str(pick_device(name)) for name in found for _ in range(workers)]
    default, _ = default_budget()
    total = default if memory is None else int(memory * GIB)
    budget = Budget(total, total // 2 if scan_memory is None else int(scan_memory * GIB))
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    spoken = MRD if protocol == "mrd" else GADGETRON
    policy = Policy(rules, budget, header_timeout, idle_timeout, networks)
    with logging_to(sys.stderr.fileno(), log_format, log_level), contextlib.ExitStack() as stack:  # type: ignore[arg-type]  # click has checked
        web = Web(web_host, web_port, web_names, web_patient_data, web_downloads) if web_port else None
        metrics = PrometheusMetrics(hosts[0], metrics_port) if metrics_port or web else None
        history = web.history if web else None
        threads = max(1, (os.cpu_count() or 1) // len(slots))
        pool = FitPool(slots, threads, watch=Watch(stall=hang_timeout), show=history.glimpse if history else None)
        stack.callback(pool.close, 0.0)
        service = Service(hosts, PORTS[protocol] if port is None else port, pool, max_scans, metrics, spoken, policy, history)
        if web and metrics:
            stack.callback(web.close)
            web.start(service.status, lambda: pool.places, metrics.pages)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: service.stop())
        logging.info("listening on %s with %d workers on %s", service.addresses, len(slots), ", ".join(found))
        service.run(grace)


def _networks(allow: tuple[str, ...]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    try:
        return [ipaddress.ip_network(text, strict=False) for text in allow]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--allow") from error


def _numbers(limits: tuple[str, ...]) -> dict[str, float]:
    try:
        return {key: float(value) for key, value in parse_assignments(limits).items()}
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--limit") from error
