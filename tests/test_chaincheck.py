"""What is wrong with a chain is named before a scan runs through it."""

import itertools
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.test_service import running
from untrained_recon.chain import Input, Output, chain_xml
from untrained_recon.chaincheck import check_chain
from untrained_recon.chainparts import Remark
from untrained_recon.cli import cli
from untrained_recon.errors import ConfigError, UnreachableError

BUFFERS = chain_xml("buffers", "uint16", {"config": "fast", "fit.lr": "0.02"})
EXECUTE = '<execute name="gadgets.buffers" target="reconstruct" type="python" />'
READER = "GadgetIsmrmrdAcquisitionMessageReader"


def nobody(host: str, port: int) -> str:
    raise UnreachableError(f"no server answers at {host}:{port}")


def somebody(host: str, port: int) -> str:
    return "{}"


def remarks(tmp_path: Path, xml: str) -> list[Remark]:
    path = tmp_path / "chain.xml"
    path.write_text(xml, encoding="utf-8")
    return check_chain(path, somebody)


def faults(tmp_path: Path, xml: str) -> list[str]:
    return [remark.text for remark in remarks(tmp_path, xml) if remark.fault]


def changed(old: str, new: str, xml: str = BUFFERS) -> str:
    assert old in xml
    return xml.replace(old, new, 1)


KINDS = list(itertools.product(("acquisitions", "buckets", "buffers"), ("float", "uint16", "complex"), (None, ("localhost", 9100))))


@pytest.mark.parametrize(("source", "output", "connect"), KINDS)
def test_our_own_chains_are_sound(source: Input, output: Output, connect: tuple[str, int] | None, tmp_path: Path) -> None:
    found = remarks(tmp_path, chain_xml(source, output, {"config": "fast"}, connect))
    assert [remark.text for remark in found if "PATH" not in remark.text] == []


WRONG = {
    "old form": ("<gadgetronStreamConfiguration><external/></gadgetronStreamConfiguration>", "old form"),
    "another root": ("<chain/>", "the root is <chain>"),
    "no XML": ("<configuration>", "not XML"),
    "no version": (changed("<version>2</version>", ""), "<version> is missing"),
    "version 1": (changed("<version>2</version>", "<version>1</version>"), "<version> says '1'"),
    "spaces in the version": (changed("<version>2</version>", "<version> 2 </version>"), "<version> says ' 2 '"),
    "no stream": ("<configuration><version>2</version></configuration>", "no <stream>"),
    "reader misspelt": (changed(READER, "GadgetIsmrmrdAcquisitionMesageReader"), f"did you mean {READER}?"),
    "reader elsewhere": (changed("gadgetron_mricore", "gadgetron_core_readers"), f"reader {READER} is in gadgetron_mricore"),
    "no acquisition reader": (changed(READER, "GadgetIsmrmrdWaveformMessageReader"), "no reader takes acquisitions"),
    "no image writer": (changed("ImageWriter", "TextWriter"), "no writer takes images"),
    "node misspelt": (changed("<external>", "<extrenal>").replace("</external>", "</extrenal>"), "did you mean <external>?"),
    "gadget misspelt": (changed("BucketToBufferGadget", "BucketToBuferGadget"), "did you mean BucketToBufferGadget?"),
    "gadget without library": (
        changed("<dll>gadgetron_mricore</dll>\n            <classname>Noise", "<classname>Noise"),
        "needs both",
    ),
    "stock property misspelt": (changed("N_dimension", "N_dimensions"), "no property N_dimensions (did you mean N_dimension?)"),
    "wrong dimension": (changed('value="contrast"', 'value="contrasts"'), "N_dimension is 'contrasts'"),
    "no gadget of ours": (changed("gadgets.buffers", "other.module"), "no <external>"),
    "module misspelt": (changed("gadgets.buffers", "gadgets.bufers"), "did you mean gadgets.buffers?"),
    "package misspelt": (changed("gadgets.buffers", "gadget.buffers"), "did you mean gadgets.buffers?"),
    "module for other input": (changed("gadgets.buffers", "gadgets.buckets"), "gadgets.buckets gets no input"),
    "wrong target": (changed('target="reconstruct"', 'target="recon"'), "target='recon'"),
    "no target": (changed(' target="reconstruct"', ""), "target=''"),
    "wrong type": (changed('type="python"', 'type="matlab"'), "type='matlab'"),
    "neither execute nor connect": (changed(EXECUTE, ""), "neither <execute> nor <connect>"),
    "no port": (changed(EXECUTE, '<connect address="localhost"/>'), "port='' is no port"),
    "unknown setting": (changed("fit.lr", "fit.rl"), "fit.rl: unknown key"),
    "wrong value": (changed('value="0.02"', 'value="fast"'), "fit.lr: "),
    "unknown preset": (changed('value="fast"', 'value="fats"'), "'fats' is neither a preset"),
    "a reference": (changed('value="0.02"', 'value="lr@Other"'), "not resolved"),
    "a property twice": (changed('name="fit.lr"', 'name="config"'), "'config' comes twice"),
    "a property without name": (changed('name="fit.lr" ', ""), "has no name"),
    "a property outside": (
        changed("<configuration>\n                <", '<property name="seed" value="1"/><configuration><'),
        "outside",
    ),
    "no split": (changed("ImageArraySplitGadget", "ImageFinishGadget"), "no ImageArraySplitGadget follows"),
    "images for gadgets that take arrays": (changed('value="arrays"', 'value="images"'), "take image arrays only"),
    "buffers without a trigger": (changed("AcquisitionAccumulateTriggerGadget", "ImageFinishGadget"), "needs Acquisition"),
    "crossing": (
        changed(
            EXECUTE,
            f"{EXECUTE}<writers><writer><dll>gadgetron_core_writers</dll><classname>AcquisitionWriter</classname>"
            "</writer></writers>",
        ),
        "lack BufferWriter: the buffers pass it by",
    ),
}


@pytest.mark.parametrize(("xml", "words"), WRONG.values(), ids=WRONG.keys())
def test_faults_are_named(xml: str, words: str, tmp_path: Path) -> None:
    found = faults(tmp_path, xml)
    assert any(words in text for text in found), found


@pytest.mark.parametrize(
    ("after", "words"),
    [("AutoScaleGadget", "multiplies the pixels, but not the window"), ("FloatToUShortGadget", "cuts off at 4095")],
)
def test_gadgets_that_change_the_pixels_of_images_are_faults(after: str, words: str, tmp_path: Path) -> None:
    gadget = f"<gadget><dll>gadgetron_mricore</dll><classname>{after}</classname></gadget>"
    xml = changed("</external>", f"</external>{gadget}", chain_xml("buffers", "float", {}))
    assert any(words in text for text in faults(tmp_path, xml))


def test_what_is_good_to_know_is_no_fault(tmp_path: Path) -> None:
    xml = changed(READER, "AcquisitionReader").replace("gadgetron_mricore", "gadgetron_core_readers", 1)
    for name in ("NoiseAdjustGadget", "AsymmetricEchoAdjustROGadget"):
        xml = xml.replace(name, "ImageFinishGadget")
    xml = xml.replace('value="fast"', 'value="/nowhere/site.yaml"')
    found = remarks(tmp_path, xml)
    assert not [remark.text for remark in found if remark.fault]
    for words in ("compresses (-P, -T)", "not whitened", "asymmetric echoes", "not on this machine", "Gadgetron would start"):
        assert any(words in remark.text for remark in found), words


def run(path: Path) -> Result:
    return CliRunner().invoke(cli, ["chain", "--check", str(path)])


def test_the_command_fails_with_a_fault_and_asks_the_listener(tmp_path: Path) -> None:
    path = tmp_path / "chain.xml"
    path.write_text(chain_xml("buffers", "uint16", {}, ("localhost", 1)), encoding="utf-8")
    result = run(path)
    assert result.exit_code == 1
    assert "fault: no listener: no server answers at localhost:1" in result.output
    assert "start `untrained-recon serve` there" in result.output
    with running() as service:
        path.write_text(chain_xml("buffers", "uint16", {}, service.addresses[0]), encoding="utf-8")
        result = run(path)
    assert (result.exit_code, result.output) == (0, f"{path}: no fault found\n")
    assert isinstance(run(tmp_path / "none.xml").exception, ConfigError)
