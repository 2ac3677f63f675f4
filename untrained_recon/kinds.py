"""The kinds of un-trained network: a table, with the settings that they share.

A new network is a module in ``untrained_recon/networks`` with a function ``build``, see :data:`Build`, and a row in
:data:`KINDS`. Modules are loaded when a network of theirs is built, so that settings are checked without PyTorch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from untrained_recon.schema import Section

Size = Annotated[list[Annotated[int, Field(ge=1, le=1024)]], Field(min_length=2, max_length=2)]


class NetworkConfig(Section):
    """The image generator."""

    kind: str = Field("convdecoder", description="architecture: `convdecoder`, `deep-decoder`, or `dip` (Deep Image Prior)")
    layers: int = Field(5, ge=2, le=18, description="layers, the final 1×1 convolution included; dip: those down and up")
    channels: int = Field(64, ge=1, le=1024, description="channels per layer")
    in_size: Size = Field([8, 8], description="matrix `[y, x]` of the fixed random input; dip: the image's")
    input: Literal["normal", "uniform"] = Field("normal", description="input from N(0, 1) as in the paper, or from U[0, 1)")
    extra_layer: bool = Field(False, description="one more full-resolution layer, as in the authors' code; not for dip")
    skips: int = Field(0, ge=0, le=9, description="skip connections, at the coarsest scales; dip only")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "NetworkConfig":
        if self.kind not in KINDS:
            raise ValueError(f"kind: expected {', '.join(KINDS)}, got {self.kind!r}")
        if problem := KINDS[self.kind].check(self):
            raise ValueError(problem)
        return self


Build = Callable[[NetworkConfig, int, tuple[int, int], Any, bool], Any]
"""Makes a network: ``build(settings, out_channels, out_size, generator, fused)``.

Arguments are the settings; the real output channels, two per complex image; the output matrix ``(y, x)``; the ``torch.Generator``
that everything random is drawn from; whether a faster way to compute the same is welcome. It returns a
:class:`~untrained_recon.networks.ImageGenerator` on the CPU.
"""


@dataclass(frozen=True)
class Kind:
    """A row of the table.

    Attributes:
        build: See :data:`Build`; or the name of the module whose function ``build`` it is.
        check: What is wrong with settings, empty where nothing is.
    """

    build: Build | str
    check: Callable[[NetworkConfig], str] = lambda _: ""

    def builder(self) -> Build:
        """The function, its module loaded."""
        return import_module(self.build).build if isinstance(self.build, str) else self.build


def _decoder(settings: NetworkConfig) -> str:
    return f"skips are for dip, not for {settings.kind}" if settings.skips else ""


def _dip(settings: NetworkConfig) -> str:
    if settings.layers % 2 or settings.skips > settings.layers // 2:
        return "dip takes an even number of layers and at most one skip for every two of them"
    return "extra_layer is not for dip" if settings.extra_layer else ""


KINDS = {
    "convdecoder": Kind("untrained_recon.networks.fused", _decoder),
    "deep-decoder": Kind("untrained_recon.networks.deep_decoder", _decoder),
    "dip": Kind("untrained_recon.networks.deep_image_prior", _dip),
}
"""Every network by the name that ``network.kind`` calls it. A row that is added at run time counts in this process alone."""
