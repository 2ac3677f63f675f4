"""The label by which Siemens' Open Recon knows a container image: who made it, what it needs, what the operator may set.

The model holds what version 1.1.0 of Open Recon's label demands, so a label that can be made is a label that is valid.
"""

import base64
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from untrained_recon import __version__
from untrained_recon.config import DEFAULT_PRESET

LABEL = "com.siemens-healthineers.magneticresonance.openrecon.metadata:1.1.0"
NAME = "UntrainedRecon"  # vendor, name and id alike: readers differ in which of them names the package
PORT = 9002
PRESETS = {"fast": "Fast", "best": "Best, slower"}  # the others are the paper's, of minutes an image
TIME_BUDGET_S = 120

SETTINGS = {
    "config": "config",
    "seed": "seed",
    "timeBudget": "scan.time_budget_s",
    "dataConsistency": "recon.data_consistency",
}
"""Parameters of the label and the settings that they stand for; Open Recon allows letters and digits only."""

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Text(_Part):
    """What an operator reads."""

    en: str


class Unit(_Part):
    """Unit of a number."""

    en: str = Field(min_length=1, max_length=3)


class Choice(_Part):
    """One of several values."""

    id: str
    name: Text


class _Parameter(_Part):
    id: Id
    label: Text
    information: Text


class ChoiceParameter(_Parameter):
    """A list to choose from."""

    type: Literal["choice"] = "choice"
    default: str
    values: list[Choice] = Field(min_length=1)


class IntParameter(_Parameter):
    """A whole number."""

    type: Literal["int"] = "int"
    default: int = Field(ge=-(2**31), lt=2**31)
    minimum: int = Field(ge=-(2**31), lt=2**31)
    maximum: int = Field(ge=-(2**31), lt=2**31)
    unit: Unit | None = None


class BooleanParameter(_Parameter):
    """Yes or no."""

    type: Literal["boolean"] = "boolean"
    default: bool


class Regulatory(_Part):
    """What a medical device would have to say; this is research software."""

    device_trade_name: str = "untrained-recon"
    production_identifier: str = __version__
    manufacturer_address: str = ""
    made_in: str = ""
    manufacture_date: str = ""
    material_number: str = f"untrained-recon_{__version__}"
    gtin: str = ""
    udi: str = ""
    safety_advices: str = "Research software, not for diagnostic use."
    special_operating_instructions: str = ""
    additional_relevant_information: str = ""


class General(_Part):
    """Names."""

    name: Text = Text(en=NAME)
    version: str = Field(default=__version__, pattern=r"^\d+\.\d+\.\d+$", validate_default=True)
    vendor: Id = NAME
    information: Text = Text(en="Reconstruction of accelerated Cartesian scans by an un-trained network. For research only.")
    id: Id = NAME
    regulatory_information: Regulatory = Regulatory()


class TransferProtocol(_Part):
    """How images and raw data travel."""

    protocol: Literal["ISMRMRD"] = "ISMRMRD"
    version: Literal["1.4.1"] = "1.4.1"


class Reconstruction(_Part):
    """Raw data go in, images come out; memory in MB."""

    transfer_protocol: TransferProtocol = TransferProtocol()
    port: int = PORT
    emitter: Literal["raw"] = "raw"
    injector: Literal["image"] = "image"
    can_process_adjustment_data: bool = False
    can_use_gpu: bool
    min_count_required_gpus: int = 0
    min_required_gpu_memory: int = 4096
    min_required_memory: int = 8192
    min_count_required_cpu_cores: int = 2
    content_qualification_type: Literal["RESEARCH"] = "RESEARCH"


class Label(_Part):
    """The whole label."""

    general: General = General()
    reconstruction: Reconstruction
    parameters: list[ChoiceParameter | IntParameter | BooleanParameter] = Field(max_length=14)


def label(gpu: bool) -> Label:
    """The label of our image.

    Args:
        gpu: Whether the image holds PyTorch with CUDA.
    """
    presets = [Choice(id=name, name=Text(en=shown)) for name, shown in PRESETS.items()]
    return Label(
        reconstruction=Reconstruction(can_use_gpu=gpu),
        parameters=[
            ChoiceParameter(
                id="config",
                label=Text(en="Preset"),
                information=Text(en="Network, fit and refinement"),
                default=DEFAULT_PRESET,
                values=presets,
            ),
            IntParameter(
                id="timeBudget",
                label=Text(en="Time budget"),
                information=Text(en="Seconds for all images of a scan, 0: no limit; late ones are made conventionally"),
                default=TIME_BUDGET_S,
                minimum=0,
                maximum=3600,
                unit=Unit(en="s"),
            ),
            IntParameter(
                id="seed",
                label=Text(en="Seed"),
                information=Text(en="Seed of the network"),
                default=0,
                minimum=0,
                maximum=2**31 - 1,
            ),
            BooleanParameter(
                id="dataConsistency",
                label=Text(en="Data consistency"),
                information=Text(en="Put the measured samples back"),
                default=True,
            ),
        ],
    )


def encode(made: Label) -> str:
    """The label's value: base64 of its JSON."""
    return base64.b64encode(made.model_dump_json(exclude_none=True).encode()).decode()
