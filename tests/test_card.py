import base64
import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from untrained_recon.account import Account
from untrained_recon.card import LONGEST_EDGE, MOST_PICTURES, card
from untrained_recon.cautions import Caution
from untrained_recon.types import EvidenceMap, Reconstruction

RECON = Reconstruction(
    magnitude=np.ones((8, 6), np.float32),
    complex_img=np.ones((8, 6), np.complex64),
    account=Account("maps", iterations=80, stop_reason="iterations", loss=0.25, chi2=1.5, seconds=2.0, device="cpu"),
)


def pictures(html: str) -> list[bytes]:
    return [base64.b64decode(png) for png in re.findall(r"base64,([^']+)'", html)]


def size(png: bytes) -> tuple[int, int]:
    return int.from_bytes(png[20:24], "big"), int.from_bytes(png[16:20], "big")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((8, 6), [(8, 6)]), ((640, 368), [(213, 122)]), ((1, 600), [(1, 600)]), ((2, 5, 16, 12), [(16, 12)] * MOST_PICTURES)],
)
def test_pictures_are_few_and_small(shape: tuple[int, ...], expected: list[tuple[int, int]]) -> None:
    pytest.importorskip("matplotlib")
    found = pictures(card(np.ones(shape, np.float32), {}, []))
    assert [size(png) for png in found] == expected
    assert min(shape) == 1 or max(map(max, expected)) <= LONGEST_EDGE


def test_without_matplotlib_there_is_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("untrained_recon.card.find_spec", lambda _: None)
    html = card(np.zeros((4, 4), np.float32), {"method": "<maps>"}, ["a & b"])
    assert "<img" not in html
    assert "&lt;maps&gt;" in html
    assert "a &amp; b" in html


def test_a_reconstruction_shows_its_account_its_evidence_and_its_cautions() -> None:
    pytest.importorskip("matplotlib")
    doubtful = replace(RECON, cautions=(Caution("model-misfit", "chi2 12"),), noise=EvidenceMap(None, "no time"))
    html = doubtful._repr_html_()
    assert len(pictures(html)) == 1
    for text in ("8 × 6", "chi2", "1.5", "no time", "model-misfit: the samples do not agree", "chi2 12"):
        assert text in html
    assert "held out" not in html  # it is not known
    assert doubtful.evidence == {"noise": EvidenceMap(None, "no time")}
    assert (RECON.account.iterations, RECON.account.chi2, RECON.account.device) == (80, 1.5, "cpu")
