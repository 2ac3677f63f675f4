import itertools
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from gadgets.connection import properties_of
from untrained_recon.cli.main import cli
from untrained_recon.errors import ConfigError
from untrained_recon.host.chain import chain_xml

READY = Path(__file__).parents[2] / "config" / "gadgetron"
KINDS = list(itertools.product(("acquisitions", "buckets", "buffers"), ("float", "uint16", "complex")))


@pytest.mark.parametrize(("source", "output"), KINDS)
def test_ready_chains_are_what_the_command_prints(source: str, output: str) -> None:
    for how, options in (("execute", ["--execute"]), ("connect", ["--connect", "localhost:9100"])):
        result = CliRunner().invoke(cli, ["chain", "--input", source, "--output", output, *options])
        assert result.exit_code == 0
        assert result.output == (READY / f"{source}_{output}_{how}.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("source", "output"), KINDS)
def test_chains_hold_the_gadget_between_what_it_needs_and_what_takes_its_answer(source: str, output: str) -> None:
    root = ElementTree.fromstring(chain_xml(source, output, {"config": "fast", "fit.lr": "0.02"}))  # type: ignore[arg-type]  # of its names
    assert root.findtext("version") == "2"
    stages = [stage.findtext("classname") or "ours" for stage in root.find("stream") or []]
    before, after = stages[: stages.index("ours")], stages[stages.index("ours") + 1 :]
    last = {"acquisitions": [], "buckets": ["AcquisitionAccumulateTriggerGadget"], "buffers": ["BucketToBufferGadget"]}
    assert before[-1:] == last[source]
    assert after[-1:] == {"float": [], "uint16": ["FloatToUShortGadget"], "complex": ["ImageArraySplitGadget"]}[output]
    configuration = root.find("stream/external/configuration")
    assert configuration is not None
    form = "images" if output == "float" else "arrays"
    assert properties_of(ElementTree.tostring(configuration)) == {"config": "fast", "fit.lr": "0.02", "output.form": form}
    execute = root.find("stream/external/execute")
    assert execute is not None
    assert execute.attrib == {"name": f"gadgets.{source}", "target": "reconstruct", "type": "python"}


def test_a_chain_can_connect_and_its_settings_are_checked() -> None:
    connected = CliRunner().invoke(cli, ["chain", "--connect", "recon:9100", "--set", "fit.iterations=10"])
    assert '<connect address="recon" port="9100"' in connected.output
    assert '<property name="fit.iterations" value="10"' in connected.output
    assert isinstance(CliRunner().invoke(cli, ["chain", "--set", "fit.iteration=10"]).exception, ConfigError)
    assert CliRunner().invoke(cli, ["chain", "--execute", "--connect", "a:1"]).exit_code == 2
