import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.doubles.helpers import read_raw
from untrained_recon.bench.fits import Case, phantom
from untrained_recon.config import load_config
from untrained_recon.errors import FitError
from untrained_recon.recon import demand, outlook
from untrained_recon.recon.fit.watch import UNWATCHED
from untrained_recon.recon.outlook import Herald, Outlook
from untrained_recon.recon.volume import reconstruct_images
from untrained_recon.serving.jobs import LocalJobs
from untrained_recon.serving.session import Session

CPU, GIB = torch.device("cpu"), 1 << 30
QUICK = {"fit.iterations": "2", "refine.iterations": "2", "network.layers": "4", "network.channels": "8"}


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("images of")]


def test_what_images_take_is_said_once_for_every_size(caplog: pytest.LogCaptureFixture) -> None:
    config, herald = load_config("fast", QUICK), Herald(CPU)
    data, other = (phantom(Case(shape, 3, 4, 8))[0] for shape in ((48, 40), (64, 40)))
    volume = replace(data, ksp=np.stack([data.ksp] * 5, axis=1), mask=np.stack([data.mask] * 5))
    for image in (data, data, volume, other):
        herald.tell(image, config)
    herald.tell(replace(data, ksp=data.ksp[:2], mask=np.ones_like(data.mask)), config)  # needs no fit
    assert [line.split(" take about ")[0] for line in told(caplog)] == [
        "images of 48 x 40 (y, x) with 3 coils",
        "images of 64 x 40 (y, x) with 3 coils",
    ]


def test_it_says_how_many_are_made_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlook, "available", lambda _: 10 * GIB)
    monkeypatch.setattr(outlook, "image_demand", lambda *_: 3 * GIB)
    size = 3, (48, 40)
    several, all_of_them = (load_config("fast", QUICK | {"compute.at_once": n}) for n in ("8", "2"))
    assert Outlook.of(load_config("fast", QUICK), *size, CPU).text == (
        "images of 48 x 40 (y, x) with 3 coils take about 3.00 GiB of memory each; 10.00 GiB are free on cpu"
    )
    assert Outlook.of(several, *size, CPU).text.endswith("10.00 GiB are free on cpu, 3 are made side by side")
    assert Outlook.of(all_of_them, *size, CPU).text.endswith("2 are made side by side")


def test_where_no_fit_has_room_it_is_said_before_and_conventional_images_come(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = phantom(Case((48, 40), 3, 4, 8))
    for module in (outlook, demand):
        monkeypatch.setattr(module, "available", lambda _: 1 << 20)
    (found,) = reconstruct_images([data], load_config("fast", QUICK), CPU, UNWATCHED)
    first = caplog.records[0]
    assert first.levelno == logging.WARNING
    assert "conventional images come instead" in first.getMessage()
    assert found.account.method == "cg-sense"
    assert found.account.fallback_reason.startswith("FitError: the fit needs ")
    assert Outlook.of(load_config("fast", {"recon.method": "cg-sense"}), 3, (48, 40), CPU).fits


@pytest.mark.parametrize("error", [RuntimeError("device lost"), FitError("no network"), AssertionError("no CUDA")], ids=repr)
def test_what_cannot_be_known_costs_no_image(
    error: Exception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise error

    data, _ = phantom(Case((48, 40), 3, 4, 8))
    monkeypatch.setattr(outlook, "image_demand", fail)
    (found,) = reconstruct_images([data], load_config("fast", QUICK), CPU, UNWATCHED)
    assert found.account.fallback_reason == ""
    assert f"is not known: {error}" in caplog.text


def test_a_scan_hears_of_it_before_its_first_image(small_scan: Path, caplog: pytest.LogCaptureFixture) -> None:
    xml, acquisitions = read_raw(small_scan)
    session = Session(xml, {"config": "fast", "device": "cpu"} | QUICK)
    with LocalJobs(CPU) as jobs:
        images = list(session.images(session.assemble([acquisitions]), ["magnitude"], jobs))
    assert len(images) > 1
    assert len(told(caplog)) == 1
    lines = [record.getMessage() for record in caplog.records]
    assert lines.index(told(caplog)[0]) < next(n for n, line in enumerate(lines) if line.startswith("a fit takes about"))
