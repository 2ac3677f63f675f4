"""The integration test: cases played to a running installation, and what came back compared with what must.

Three things that a site must tell apart are different errors: nothing answers (:class:`UnreachableError`), something answers but
our gadget is not behind it (:class:`GadgetMissingError`), and the gadget answers wrongly (the findings of a case).
"""

import json
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import ismrmrd
import numpy as np

from untrained_recon.errors import GadgetMissingError, ReplayError
from untrained_recon.host.chain import Input, Output, chain_xml
from untrained_recon.host.compression import CompressedAcquisition
from untrained_recon.host.exchange import Item as Sent
from untrained_recon.host.exchange import exchange, query, server_connection
from untrained_recon.phantom.simulation import Simulation
from untrained_recon.phantom.simulation import header as simulated_header
from untrained_recon.scan.document import write_document
from untrained_recon.site.cases import Case, CaseFile, Item
from untrained_recon.site.findings import Finding, Outcome, check, magnitudes
from untrained_recon.wire import configuration_xml

__all__ = ["Finding", "Outcome", "Result", "Target", "check", "magnitudes", "play", "probe", "run_cases"]

SETTLE_S = 10.0
PROBE = Simulation(shape=(16, 16), coils=1, accel=1, acs=16, pattern="equispaced", slices=1, noise=0.0, seed=0)
NO_SUCH_PRESET = "integration-test-probe"


@dataclass(frozen=True)
class Target:
    """Where to play cases.

    Attributes:
        kind: Our resident service, or a Gadgetron with our gadget in its chains.
        address: Host and port.
        connect: Where a Gadgetron finds our service; without, it starts the gadget itself.
        timeout_s: Longest silence of the other side.
    """

    kind: Literal["service", "server"]
    address: tuple[str, int]
    connect: tuple[str, int] | None
    timeout_s: float

    def config(self, source: Input, settings: dict[str, str], output: Output = "float") -> bytes:
        """What is sent before the header: the settings for a service, a whole chain for a server."""
        if self.kind == "service":
            return configuration_xml(settings)
        return chain_xml(source, output, settings, self.connect).encode()


@dataclass(frozen=True)
class Result:
    """A case that was played, or why it was not (``skipped``)."""

    case: Case
    outcome: Outcome
    findings: list[Finding]
    skipped: str = ""
    updated: bool = False

    @property
    def line(self) -> str:
        """The result for a person."""
        if self.skipped:
            return f"skip {self.case.name}: {self.skipped}"
        came = f"{len(self.outcome.images)} images" if not self.case.file.expect.error else "error as expected"
        first = f", first after {self.outcome.first_image_s:.2f} s" if self.outcome.images else ""
        times = f"{self.outcome.seconds:.2f} s{first}"
        if self.findings:
            return "\n".join([f"FAIL {self.case.name} ({times})", *(f"     {f.kind}: {f.text}" for f in self.findings)])
        return f"ok   {self.case.name}: {came}, {times}{', reference rewritten' if self.updated else ''}"


def probe(target: Target) -> None:
    """Make sure that our gadget is there: a wrong setting must bring our own error.

    Raises:
        UnreachableError: Nothing answers.
        GadgetMissingError: Something else answers.
    """
    config, header = target.config("acquisitions", {"config": NO_SUCH_PRESET}), write_document(simulated_header(PROBE))
    outcome = play(target, config, header, [])
    if "ConfigError" not in outcome.error or NO_SUCH_PRESET not in outcome.error:
        raise GadgetMissingError(
            f"{target.address[0]}:{target.address[1]} answers, but not with our gadget: {outcome.error or 'silence'}; "
            "is the package installed where the server looks, and the port the right one?"
        )


def run_cases(cases: Iterable[Case], target: Target, update: bool) -> Iterator[Result]:
    """Play one case after the other.

    Args:
        cases: What to play.
        target: Where to.
        update: Make what comes back the reference, for every case that expects images.

    Raises:
        UnreachableError, GadgetMissingError: Before the first case.
    """
    probe(target)
    for case in cases:
        if target.kind not in case.file.targets or (target.kind == "service" and case.file.input != "acquisitions"):
            yield Result(case, Outcome(), [], skipped=f"not for a {target.kind}")
            continue
        settings = {name: json.dumps(value) if isinstance(value, bool) else str(value) for name, value in case.file.config.items()}
        config = target.config(case.file.input, settings, case.file.output)
        if target.kind == "server" and case.file.chain:
            config = (case.folder / case.file.chain).read_bytes()
        header, items = case.scan()
        for _ in range(case.file.repeat):
            outcome = play(target, config, header, _paced(items, case.file))
            renew = update and bool(outcome.images) and not outcome.error and not case.file.expect.error
            if renew:
                case.update(np.stack(magnitudes(outcome)))
            waveforms = sum(isinstance(item, ismrmrd.Waveform) for item in items)
            result = Result(case, outcome, [*check(case, outcome, waveforms), *_check_health(target)], updated=renew)
            if result.findings:
                break
        yield result


def _paced(items: Iterable[Item], file: CaseFile) -> Iterator[Sent]:
    """The items as the case's host sends them."""
    for item in items:
        time.sleep(file.pace_s)
        yield CompressedAcquisition(item, file.precision) if file.precision and isinstance(item, ismrmrd.Acquisition) else item


def play(target: Target, config: bytes, header: bytes, items: Iterable[Sent]) -> Outcome:
    """Play a scan and take what comes back, until the other side has nothing more to say. Raises UnreachableError."""
    outcome = Outcome()
    start = time.monotonic()
    with server_connection(*target.address) as sock:
        sock.settimeout(target.timeout_s)
        try:
            for item in exchange(sock, config, header, items):
                if isinstance(item, ismrmrd.Image):
                    outcome.images.append(item)
                    outcome.first_image_s = outcome.first_image_s or time.monotonic() - start
                else:
                    outcome.others += 1
        except ReplayError as error:
            outcome.error = str(error)
        outcome.seconds = time.monotonic() - start
        outcome.stray = _after_close(sock)
    return outcome


def _after_close(sock: socket.socket) -> str:
    """Nothing may come between CLOSE and the end of the connection."""
    try:
        sock.settimeout(SETTLE_S)
        extra = sock.recv(1 << 16)
    except TimeoutError:
        return f"the connection was still open {SETTLE_S:.0f} s after CLOSE"
    except OSError:  # reset: it is over as well
        return ""
    return f"{len(extra)} bytes came after CLOSE" if extra else ""


def _check_health(target: Target) -> Iterator[Finding]:
    """After a case the service must be there and have no scan left."""
    if target.kind != "service":
        return
    deadline = time.monotonic() + SETTLE_S
    try:
        while json.loads(query(*target.address))["scans"]:
            if time.monotonic() > deadline:
                yield Finding("unhealthy", f"the service still has the scan {SETTLE_S:.0f} s after its end")
                return
            time.sleep(0.05)
    except ReplayError as error:
        yield Finding("unhealthy", str(error))
