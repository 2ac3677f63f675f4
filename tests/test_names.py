"""Names of files that are not UTF-8, as Linux allows them: nothing that is written or printed fails of them."""

import csv
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from untrained_recon.cli.main import cli
from untrained_recon.config import load_config
from untrained_recon.errors import ConfigError
from untrained_recon.files.export.sidecar import write_json
from untrained_recon.files.open import open_volume
from untrained_recon.host.chain import chain_xml
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import fft2
from untrained_recon.site.junit import is_junit, junit
from untrained_recon.study.results import ResultsFile
from untrained_recon.text.printable import legible
from untrained_recon.wire import configuration_xml

NAME, LEGIBLE = os.fsdecode(b"caf\xe9"), r"caf\udce9"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of such a name, with an array of such a name in it."""
    made = tmp_path / NAME
    try:
        made.mkdir()
    except (OSError, UnicodeEncodeError):
        pytest.skip("the file system takes names in UTF-8 only")
    ksp = fft2(torch.from_numpy(coil_maps((48, 32), 4) * head((48, 32), 0.0, 0))).numpy().astype(np.complex64)
    np.save(made / f"{NAME}.npy", ksp[None])
    return made


def test_names_are_legible_and_others_stay_what_they_are() -> None:
    assert legible(NAME) == LEGIBLE
    for name in ("café", "scan 1", "扫描", LEGIBLE):
        assert legible(name) == name


def test_an_evaluation_of_such_a_file_has_a_table_and_a_page_and_is_not_done_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["evaluate", str(folder), "-o", str(out), "--method", "zero-filled", "--acs", "8"]
    for _ in "ab":
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, result.output
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        assert [row["volume"] for row in csv.DictReader(file)] == [LEGIBLE]  # once
    (row,) = ResultsFile(out / "results.csv").rows()
    assert row.error == ""
    assert (out / row.key.image_path).exists()
    assert LEGIBLE in (out / "report.html").read_text(encoding="utf-8")
    with open_volume(folder / f"{NAME}.npy") as volume:
        assert volume.name == LEGIBLE


def test_a_batch_tells_of_such_a_file_on_the_terminal_and_in_its_table(folder: Path, tmp_path: Path) -> None:
    (folder / f"{NAME}.npy").unlink()
    (folder / f"{NAME}.h5").write_bytes(b"no HDF5 file")
    out = folder / "out"
    command = [sys.executable, "-m", "untrained_recon.cli", "recon", str(folder), "-o", str(out), "--device", "cpu"]
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, capture_output=True, timeout=300, env=strict)
    assert (done.returncode, b"Traceback" in done.stderr) == (1, False), done.stderr
    assert LEGIBLE in done.stdout.decode() + done.stderr.decode()
    with (out / "failures.csv").open(newline="", encoding="utf-8") as file:
        assert [row["scan"] for row in csv.DictReader(file)] == [LEGIBLE]
    assert json.loads((out / "records" / f"{NAME}.json").read_text(encoding="utf-8"))["name"] == NAME


def test_settings_in_such_a_file_have_a_name_that_can_be_kept(folder: Path) -> None:
    path = folder / f"{NAME}.yaml"
    path.write_text("extends: fast\n")
    config = load_config(str(path))
    assert config.name == LEGIBLE
    assert len(config.hash) == 12
    for tell in (configuration_xml, partial(chain_xml, "acquisitions", "float")):
        with pytest.raises(ConfigError, match="not UTF-8; rename it"):
            tell({"config": str(path)})


def test_other_texts_are_legible(tmp_path: Path) -> None:
    write_json(tmp_path / "sidecar.json", {"of": NAME})
    assert json.loads((tmp_path / "sidecar.json").read_text(encoding="utf-8")) == {"of": NAME}
    (tmp_path / "junit.xml").write_bytes(junit([], ConfigError(f"{NAME} & <more>")))
    assert is_junit(tmp_path / "junit.xml")
    assert LEGIBLE in (tmp_path / "junit.xml").read_text(encoding="utf-8")
