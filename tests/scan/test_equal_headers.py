"""The image does not depend on which of several headers that say the same was written."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.doubles.helpers import read_raw
from untrained_recon.serving.jobs import LocalJobs
from untrained_recon.serving.session import Session
from untrained_recon.types import FloatArray

Change = Callable[[str], str]
QUICK = {"fit.iterations": "3", "refine.iterations": "2", "network.channels": "8", "network.layers": "3", "device": "cpu"}


def without(*names: str) -> Change:
    return lambda xml: re.sub(rf"<({'|'.join(names)})>.*?</\1>", "", xml, flags=re.DOTALL)


def moved_first(name: str) -> Change:
    """With an element before its siblings."""

    def change(xml: str) -> str:
        found = re.search(rf"<{name}>.*?</{name}>", xml, flags=re.DOTALL)
        assert found is not None
        return xml.replace(found[0], "").replace("<encoding>", f"<encoding>{found[0]}")

    return change


SAME: dict[str, Change] = {
    "limits that say what is usual": without("kspace_encoding_step_0", "kspace_encoding_step_2", "average", "set", "segment"),
    "no limits of lines": without("kspace_encoding_step_1"),
    "no centre of lines": lambda xml: xml.replace("<center>32</center>", ""),
    "the space to deliver first": moved_first("reconSpace"),
    "the trajectory first": moved_first("trajectory"),
    "no trajectory": without("trajectory"),
    "no calibration": without("calibrationMode"),
    "no system but the noise's bandwidth": without("systemVendor", "systemFieldStrength_T", "receiverChannels"),
    "no measurement": without("measurementInformation", "experimentalConditions", "sequenceParameters"),
    "decimals": lambda xml: re.sub(r"<([xyz])>(\d+)</", r"<\1>\2.0</", xml),
    "exponents": lambda xml: xml.replace(">480.0<", ">4.8e2<").replace(">240.0<", ">+240<"),
    "blanks": lambda xml: re.sub(r">(\d+)<", r"> \1\n<", xml),
    "twice": lambda xml: xml.replace("</reconSpace>", "</reconSpace><reconSpace/>"),
    "a second space": lambda xml: xml.replace("</encoding>", "</encoding><encoding/>"),
    "partitions of a 2-D scan": lambda xml: xml.replace("<z>1</z>", "<z>2</z>", 1),
    "a comment": lambda xml: xml.replace("<encoding>", "<!-- <encoding> --><encoding>"),
}


def images(header: str, raw: Path) -> list[FloatArray]:
    _, acquisitions = read_raw(raw)
    session = Session(header.encode(), QUICK)
    with LocalJobs(torch.device("cpu")) as jobs:
        return [image.data for image in session.images(session.assemble([acq] for acq in acquisitions), ["magnitude"], jobs)]


@pytest.fixture(scope="module")
def plain(small_scan: Path) -> tuple[str, list[FloatArray]]:
    header = read_raw(small_scan)[0].decode()
    return header, images(header, small_scan)


@pytest.mark.parametrize("change", SAME.values(), ids=list(SAME))
def test_equal_headers_give_the_same_image(change: Change, plain: tuple[str, list[FloatArray]], small_scan: Path) -> None:
    header, expected = plain
    changed = change(header)
    assert changed != header
    found = images(changed, small_scan)
    assert len(found) == len(expected) == 2
    for image, same in zip(found, expected, strict=True):
        np.testing.assert_array_equal(image, same)
