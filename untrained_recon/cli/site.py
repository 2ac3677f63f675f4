"""Commands for whoever installs the software at a site: is it there, does it do what it must, what is its label."""

import json
import sys
from pathlib import Path

import click

from untrained_recon.cli.options import FILE, force_option, parse_address
from untrained_recon.errors import GadgetMissingError, UnreachableError, WorkerError
from untrained_recon.output import require_place, require_replaceable, written

FAILED, UNREACHABLE, GADGET_MISSING = 1, 3, 4


@click.command()
@click.argument("address", metavar="HOST:PORT", default="localhost:9100")
def health(address: str) -> None:
    """Ask the resident service at HOST:PORT how it is; the exit status is not 0 where it does not answer or no worker lives."""
    from untrained_recon.host.exchange import query

    text = query(*parse_address(address))
    click.echo(text)
    if not json.loads(text).get("alive", False):
        raise WorkerError(f"none of the workers of {address} lives; see the service's log")


@click.command("openrecon-label")
@click.option("--gpu", is_flag=True, help="For an image with CUDA.")
@click.option("--base64", "encoded", is_flag=True, help="As the value of the image's label.")
def openrecon_label(gpu: bool, encoded: bool) -> None:
    """Print the label by which Siemens' Open Recon knows the container image."""
    from untrained_recon.site.openrecon import encode, label

    made = label(gpu)
    click.echo(encode(made) if encoded else made.model_dump_json(exclude_none=True, indent=2))


@click.command("openrecon-package")
@click.argument("archive", metavar="IMAGE.tar", type=FILE)
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False, exists=True), default=".", help="Folder for it.")
@force_option
def openrecon_package(archive: Path, output: Path, force: bool) -> None:
    """Pack what `docker save` wrote of the image of docker/openrecon as a scanner installs it, with its documentation."""
    from untrained_recon.extras import require_modules
    from untrained_recon.site.openrecon_package import make_package

    require_modules(("matplotlib",), "report", "the documentation")
    click.echo(make_package(archive, output, force))


@click.command("integration-test")
@click.option("--server", metavar="HOST:PORT", help="A running Gadgetron, with the package installed or --connect.")
@click.option("--service", metavar="HOST:PORT", help="A running `serve`.")
@click.option("--connect", metavar="HOST:PORT", help="With --server: where its chains find `serve`; default: they start it.")
@click.option("--cases", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True, help="Folder of cases.")
@click.option("--junit", "junit_file", type=FILE, help="Also write the results as JUnit XML.")
@click.option("--timeout", type=click.FloatRange(1), default=300.0, show_default=True, help="Seconds of silence to wait.")
@click.option("--update", is_flag=True, help="Make what comes back the new references. Look at them before they are trusted.")
@force_option
def integration_test(
    server: str | None,
    service: str | None,
    connect: str | None,
    cases: Path,
    junit_file: Path | None,
    timeout: float,
    update: bool,
    force: bool,
) -> None:
    """Play CASES to an installation and compare what comes back.

    Exit status: 0 all right, 1 a case failed, 3 the server is unreachable, 4 our gadget is missing there.
    """
    from untrained_recon.site.acceptance import Target, run_cases
    from untrained_recon.site.cases import load_cases
    from untrained_recon.site.junit import is_junit, junit

    if (server is None) == (service is None):
        raise click.UsageError("either --server or --service")
    if connect is not None and server is None:
        raise click.UsageError("--connect goes with --server")
    if junit_file is not None:
        require_place(junit_file)
        if not force:
            require_replaceable(junit_file, is_junit)
    target = Target(
        kind="server" if server else "service",
        address=parse_address(server or service or ""),
        connect=None if connect is None else parse_address(connect),
        timeout_s=timeout,
    )
    results, trouble, status = [], None, 0
    try:
        for result in run_cases(load_cases(cases), target, update):
            results.append(result)
            click.echo(result.line)
    except (UnreachableError, GadgetMissingError) as error:
        trouble, status = error, UNREACHABLE if isinstance(error, UnreachableError) else GADGET_MISSING
        what = "server unreachable" if isinstance(error, UnreachableError) else "gadget missing"
        click.echo(f"{what}: {error}", err=True)
    failed = sum(bool(result.findings) for result in results)
    skipped = sum(bool(result.skipped) for result in results)
    click.echo(f"{len(results) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    if junit_file is not None:
        with written(junit_file) as part:
            part.write_bytes(junit(results, trouble))
    sys.exit(status or (FAILED if failed else 0))
