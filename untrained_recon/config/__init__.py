"""Typed configuration: presets and YAML files, with overrides from the command line or from a Gadgetron chain.

Everything is checked by one strict schema, so a misspelt key or a number out of range ends as a :class:`ConfigError` that names
the dotted path, before any data are touched.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from untrained_recon.config.extends import lineage, merged, named_bare
from untrained_recon.config.fit import ComputeConfig as ComputeConfig
from untrained_recon.config.fit import FitConfig as FitConfig
from untrained_recon.config.fit import RefineConfig as RefineConfig
from untrained_recon.config.kinds import NetworkConfig as NetworkConfig
from untrained_recon.config.schema import Section, describe
from untrained_recon.errors import ConfigError
from untrained_recon.text.printable import LONGEST, printable, quoted
from untrained_recon.text.yaml import parse_yaml

PRESETS = "untrained_recon.preset_files"
DEFAULT_PRESET = "fast"
FEWEST_REPLICAS = 4
DEEPEST_KEY = 4


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a name must be one line of printable characters")
    return text


Name = Annotated[str, Field(max_length=140), AfterValidator(_one_line)]
Sets = Literal["auto"] | Annotated[int, Field(ge=1, le=4)]


class ScanConfig(Section):
    """How acquisitions become images."""

    flush: Literal["flags", "close"] = Field("flags", description="send an image at LAST_IN_SLICE/REPETITION, or all at the end")
    average: bool = Field(True, description="average repeated acquisitions (`average` counter) into one image, or an image of each")
    readout: Literal["auto", "oversampled", "cut"] = Field("auto", description="readouts no longer than the image; auto: by signal")
    fill: Literal["acquired", "matrix"] = Field("acquired", description="k-space to fill: as far as acquired, or the whole matrix")
    time_budget_s: float = Field(0.0, ge=0, description="seconds for all fits of a scan, shared by its images; 0: no limit")


class MapsConfig(Section):
    """Coils and their sensitivities (ESPIRiT)."""

    max_coils: int = Field(24, ge=1, le=1024, description="more coils are compressed to this many virtual ones")
    sets: Sets = Field("auto", description="sets of maps; auto: 2 where the object reaches beyond the field of view, else 1")
    calib_width: int = Field(24, ge=4, le=256, description="largest number of central lines and columns to use")
    kernel_width: int = Field(6, ge=3, le=16, description="k-space kernel width; half the calibration lines where they are few")
    thresh: float = Field(0.01, gt=0, lt=1, description="singular values below this share of the largest are left out")
    crop: float = Field(0.5, ge=0, lt=1, description="maps fade from an eigenvalue of 0.9 and are zero from this one on")


Method = Literal["network", "unet", "cg-sense", "l1-wavelet", "tv", "bart-l1-wavelet", "bart-tv", "paper-tv", "zero-filled"]


class ReconConfig(Section):
    """Which reconstruction."""

    method: Method = Field("network", description="the un-trained network, the trained U-net, or a conventional method")
    mode: Literal["maps", "coils", "separate"] = Field(
        "maps", description="Step 1-B with ESPIRiT maps; Step 1-A with one network for all coils, or with one for each"
    )
    runs: int = Field(1, ge=1, le=100, description="fits from different seeds, whose images are averaged")
    held_out: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="share of the lines outside the calibration block held out until the end, to tell the error; 0: none",
    )
    data_consistency: bool = Field(True, description="Step 2: put the measured samples back")


class EvidenceConfig(Section):
    """Maps that help to read the image, each a series of its own."""

    spread: bool = Field(
        False, description="map of the standard deviation over `recon.runs` (2 or more): optimisation variance, no noise, no error"
    )
    replicas: int = Field(
        0, ge=0, le=1000, description="replicas (4 or more; 16 do) for a map of the noise's standard deviation; 0: no map"
    )
    undetermined: bool = Field(False, description="map of the part of the image that the samples do not determine: where to doubt")


class UnetConfig(Section):
    """The trained U-net."""

    weights: str = Field("", description="file of weights: from `train-unet`, or as fastMRI publishes them")


class BaselineConfig(Section):
    """Conventional reconstruction."""

    lamda: float = Field(0.0, ge=0, description="weight λ of the regularisation for an image of about 1; 0: the method's own")
    iterations: int = Field(0, ge=0, le=100_000, description="iterations; 0: the method's own")


class OutputConfig(Section):
    """What leaves the gadget besides the magnitude series."""

    complex: bool = Field(False, description="also send a coil-combined complex series")
    phase: bool = Field(False, description="also send a series of its phase, float32 radians")
    form: Literal["auto", "images", "arrays"] = Field(
        "auto", description="images, or complex image arrays for further gadgets; auto: arrays for ReconData, else images"
    )


class Config(Section):
    """All settings of a reconstruction."""

    name: Name = Field("custom", description="name of the configuration, for the record in the images")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of the network's input and initial weights")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="`auto`, `cpu`, `cuda` or `cuda:N`")
    scan: ScanConfig = ScanConfig()
    maps: MapsConfig = MapsConfig()
    network: NetworkConfig = NetworkConfig()
    fit: FitConfig = FitConfig()
    recon: ReconConfig = ReconConfig()
    refine: RefineConfig = RefineConfig()
    compute: ComputeConfig = ComputeConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    unet: UnetConfig = UnetConfig()
    baseline: BaselineConfig = BaselineConfig()
    output: OutputConfig = OutputConfig()

    @model_validator(mode="after")
    def _evidence_of_several(self) -> "Config":
        if self.evidence.spread and self.recon.runs < 2:
            raise ValueError("evidence.spread is over recon.runs, which must be 2 or more")
        if 0 < self.evidence.replicas < FEWEST_REPLICAS:
            raise ValueError(f"evidence.replicas must be {FEWEST_REPLICAS} or more for a standard deviation, or 0 for no map")
        return self

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change with what decides an image; name, seed, device and output do not count."""
        return self.digest({"name", "seed", "device", "output"})


def preset_names() -> list[str]:
    """Names of the configurations that ship with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in resources.files(PRESETS).iterdir() if p.name.endswith(".yaml"))


def load_config(name_or_path: str, overrides: Mapping[str, str] | None = None) -> Config:
    """Load a preset or a YAML file and apply overrides.

    Args:
        name_or_path: Name of a preset, or path of a ``.yaml`` file. The file may name another, or a preset, to begin with
            (``extends``). One that does not begins with the schema's defaults; its name and a warning say so.
        overrides: Dotted path to value, the value in YAML notation: ``{"fit.lr": "1e-2"}``.

    Raises:
        ConfigError: The preset or file does not exist, is not YAML, or breaks the schema; or what it extends.
    """
    values: dict[str, Any] = {}
    layers = lineage(name_or_path, _values, preset_names())
    for source, own in layers:
        values = merged(values, own)
        _validated(values, source)
    if layers[0][0] not in preset_names():
        default = load_config(DEFAULT_PRESET).model_dump()
        values = named_bare(values, name_or_path, DEFAULT_PRESET, default, Config().model_dump())
    for path, value in (overrides or {}).items():
        _set(values, path, parse_yaml(value, path))
    return _validated(values, name_or_path)


def _values(name_or_path: str) -> dict[str, Any]:
    """The settings that a preset or file itself holds."""
    values = parse_yaml(_read(name_or_path), name_or_path)
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"configuration {quoted(name_or_path)}: expected keys and values, got {type(values).__name__}")
    return {"name": printable(Path(name_or_path).stem), **values}


def _validated(values: dict[str, Any], where: str) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"configuration {quoted(where)}: {describe(error, Config)}") from error


def _read(name_or_path: str) -> str:
    if name_or_path in preset_names():
        return (resources.files(PRESETS) / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        known = ", ".join(preset_names())
        raise ConfigError(f"configuration {quoted(name_or_path)} is neither a preset ({known}) nor a .yaml file")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {quoted(name_or_path)} cannot be read: {type(error).__name__}") from error


def _set(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, key = path.split(".")
    if len(parents) >= DEEPEST_KEY:
        raise ConfigError(f"{printable(path, LONGEST)}: unknown key")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{printable(path, LONGEST)}: {quoted(parent)} is a value, not a section")
    values[key] = value
