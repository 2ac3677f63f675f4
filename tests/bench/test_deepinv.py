"""The configuration named deepinv-settings beside deepinv itself, where that can be imported."""

import importlib
import inspect
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from untrained_recon.bench.quality.contenders import contenders
from untrained_recon.recon.networks import build_network, layer_sizes


@pytest.fixture(scope="module")
def models() -> Any:
    """``deepinv.models``; a torchvision that does not fit the build of torch fails with a RuntimeError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("deepinv.models")
        except (ImportError, RuntimeError) as error:
            pytest.skip(f"deepinv cannot be imported: {error} (pip install 'untrained-recon[deepinv]')")


def test_its_defaults_are_our_settings(models: Any) -> None:
    settings = contenders(0.0)["deepinv-settings"]
    network = inspect.signature(models.ConvDecoder).parameters
    found = (network["layers"].default, network["channels"].default, list(network["in_size"].default))
    assert found == (settings.network.layers, settings.network.channels, settings.network.in_size)
    fit = inspect.signature(models.DeepImagePrior).parameters
    assert (fit["iterations"].default, fit["learning_rate"].default) == (settings.fit.iterations, settings.fit.lr)


@pytest.mark.parametrize("size", [(256, 256), (230, 180)])
def test_its_network_has_our_layers_and_our_parameters_and_biases(models: Any, size: tuple[int, int]) -> None:
    settings = contenders(0.0)["deepinv-settings"].network
    theirs = models.ConvDecoder((2, *size), tuple(settings.in_size), settings.layers, settings.channels)
    ours = build_network(settings, 2, size, torch.Generator())
    upsampled = [layer.size for layer in theirs.modules() if isinstance(layer, nn.Upsample)]
    assert upsampled == layer_sizes((settings.in_size[0], settings.in_size[1]), size, settings.layers)
    convolutions = [layer for layer in theirs.modules() if isinstance(layer, nn.Conv2d)]
    assert sum(layer.out_channels for layer in convolutions) == settings.layers * settings.channels + 2
    for layer in convolutions:
        assert layer.bias is not None
        layer.register_parameter("bias", None)
    assert [p.shape for p in theirs.parameters()] == [p.shape for p in ours.parameters()]
