"""The label that Open Recon reads."""

import base64
import json
import os
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from untrained_recon.cli.main import cli
from untrained_recon.config import load_config, preset_names
from untrained_recon.site.openrecon import SETTINGS, Choice, ChoiceParameter, General, IntParameter, Text, Unit, encode, label


def test_every_parameter_is_a_setting_with_its_default() -> None:
    for parameter in label(gpu=False).parameters:
        if parameter.id == "config":
            assert isinstance(parameter, ChoiceParameter)
            assert {value.id for value in parameter.values} == {"fast", "best"} <= set(preset_names())
            assert parameter.default == "fast"
        else:
            load_config("fast", {SETTINGS[parameter.id]: str(parameter.default)})
    assert {parameter.id for parameter in label(gpu=False).parameters} == set(SETTINGS)


SCHEMA = "UNTRAINED_RECON_OPENRECON_SCHEMA"


@pytest.mark.needs("jsonschema")
@pytest.mark.parametrize("gpu", [False, True])
def test_the_published_schema_takes_the_label(gpu: bool) -> None:
    """The schema, ``OpenReconSchema_1.1.0.json``, is Siemens' and is not part of this repository."""
    if SCHEMA not in os.environ:
        pytest.skip(f"the path of OpenReconSchema_1.1.0.json is not in {SCHEMA}")
    import jsonschema

    schema = json.loads(Path(os.environ[SCHEMA]).read_text(encoding="utf-8"))
    made = json.loads(base64.b64decode(encode(label(gpu))))
    assert [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(made)] == []


def test_what_the_schema_leaves_open_holds() -> None:
    parameters = label(gpu=False).parameters
    assert max(Counter(parameter.id for parameter in parameters).values()) == 1
    for parameter in parameters:
        if isinstance(parameter, ChoiceParameter):
            values = [value.id for value in parameter.values]
            assert parameter.default in values
            assert all(values)
            assert len(set(values)) == len(values)
        if isinstance(parameter, IntParameter):
            assert parameter.minimum <= parameter.default <= parameter.maximum
    general = label(gpu=False).general
    assert {general.vendor, general.name.en} == {general.id}  # whichever of them names the package


def test_an_image_with_cuda_says_so() -> None:
    made = label(gpu=True)
    assert made.reconstruction.can_use_gpu


def test_the_command_prints_it_plain_and_encoded() -> None:
    plain = CliRunner().invoke(cli, ["openrecon-label"]).output
    encoded = CliRunner().invoke(cli, ["openrecon-label", "--base64"]).output
    assert json.loads(plain) == json.loads(base64.b64decode(encoded)) == json.loads(base64.b64decode(encode(label(gpu=False))))
    assert json.loads(plain)["reconstruction"]["transfer_protocol"] == {"protocol": "ISMRMRD", "version": "1.4.1"}


def test_labels_that_open_recon_would_refuse_cannot_be_made() -> None:
    text = Text(en="x")
    for wrong in (
        lambda: General(version="1.0"),
        lambda: General(vendor="two words"),
        lambda: IntParameter(id="time_budget", label=text, information=text, default=0, minimum=0, maximum=1),
        lambda: IntParameter(id="n", label=text, information=text, default=2**31, minimum=0, maximum=1),
        lambda: ChoiceParameter(id="n", label=text, information=text, default="a", values=[]),
        lambda: Choice(id="a", name=text, remark="b"),  # type: ignore[call-arg]
        lambda: Unit(en="seconds"),
    ):
        with pytest.raises(ValidationError):
            wrong()
