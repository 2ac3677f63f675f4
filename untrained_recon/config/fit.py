"""Settings of the fit, of the refinement, and of how they are computed."""

from typing import Literal

from pydantic import Field

from untrained_recon.config.schema import Section


class FitConfig(Section):
    """Optimisation."""

    optimiser: Literal["adam", "gd", "gd-a"] = Field(
        "adam", description="gd-a: gradient descent with the step sizes that Adam took"
    )
    iterations: int = Field(300, ge=1, le=1_000_000, description="iterations of the optimiser at most")
    following_iterations: int = Field(
        0, ge=0, le=1_000_000, description="3-D: iterations of a plane that starts from the network of the one before; 0: none does"
    )
    lr: float = Field(0.01, gt=0, le=1e6, description="step size; the largest, where the schedule changes it")
    schedule: Literal["constant", "one-cycle", "warmup-stable-decay"] = Field(
        "constant", description="course of the step size; the last one falls when the fit is about to end, whatever ends it"
    )
    keep: Literal["last", "lowest-loss"] = Field("last", description="which iterate becomes the image")
    discrepancy: float = Field(
        0.0,
        ge=0,
        le=100,
        description="squared residual at which the fit ends: of the noise's, if a noise scan tells it; before a refinement, of the"
        " square of twice the uncertainty by noise and maps; 0: never",
    )
    time_budget_s: float = Field(
        0.0,
        ge=0,
        description="seconds for the fits and refinements of an image (3-D: of a plane), then it is taken as it is; 0: no limit",
    )
    weighting: float = Field(0.0, ge=0, le=2, description="exponent of the radial weight of the residual; 0: the paper's loss")


class RefineConfig(Section):
    """What follows the fit."""

    iterations: int = Field(
        0, ge=0, le=1000, description="most steps: 45, then passes of 30 with maps of the image itself while these pay; 0: none"
    )


class ComputeConfig(Section):
    """How the network is computed; the mathematics are the same."""

    path: Literal["fast", "plain"] = Field("fast", description="plain: as one would write it down, float32, not compiled; a check")
    precision: Literal["auto", "float32", "tf32", "bf16"] = Field(
        "auto", description="of the convolutions; auto: bf16 on GPUs since Ampere and CPUs with AMX, else float32"
    )
    compile: Literal["none", "default", "cuda-graphs"] = Field("none", description="`torch.compile` of the network")
    graphs: bool = Field(True, description="on a GPU, record the launches of an iteration once and repeat them (CUDA graph)")
    at_once: int = Field(1, ge=1, le=64, description="images of a scan (planes, runs, replicas) side by side, as memory allows")
    deterministic: bool = Field(False, description="on a GPU, sums in a fixed order: the same seed, the same image bit for bit")
