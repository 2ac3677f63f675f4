"""The fast ways to compute a network against the plain one."""

import pytest
import torch

from tests.doubles.helpers import random_complex
from untrained_recon.config import ComputeConfig, FitConfig, NetworkConfig
from untrained_recon.phantom.head import coil_maps, head
from untrained_recon.physics.operators import Sense, fft2
from untrained_recon.recon.fit.loop import fit
from untrained_recon.recon.fit.watch import Progress, Watch
from untrained_recon.recon.networks import ImageGenerator, build_network
from untrained_recon.recon.networks.compute import arithmetic, precision

CPU = torch.device("cpu")
PLAIN = ComputeConfig(path="plain")
FLOAT32 = ComputeConfig(precision="float32")
BF16 = ComputeConfig(precision="bf16")
SETTINGS = {
    "doubling": (NetworkConfig(layers=5, channels=8, in_size=[4, 4]), (64, 64)),
    "one axis doubles": (NetworkConfig(layers=4, channels=8, in_size=[8, 8]), (64, 40)),
    "nothing doubles": (NetworkConfig(layers=3, channels=8, in_size=[8, 4], extra_layer=True), (50, 37)),
    "deep decoder": (NetworkConfig(kind="deep-decoder", layers=4, channels=8), (64, 64)),
    "deep image prior": (NetworkConfig(kind="dip", layers=4, channels=8, skips=1), (64, 64)),
}


def make(name: str, compute: ComputeConfig) -> ImageGenerator:
    settings, size = SETTINGS[name]
    return build_network(settings, 2, size, torch.Generator().manual_seed(0), compute)


@pytest.mark.parametrize("name", SETTINGS)
def test_fast_is_plain_but_for_rounding(name: str) -> None:
    """Image to 1e-12 and gradients to 1e-9 in double precision, from the same weights under the same names."""
    plain, fast = make(name, PLAIN).double(), make(name, FLOAT32).double()
    for (key, one), (other_key, other) in zip(plain.state_dict().items(), fast.state_dict().items(), strict=True):
        assert key == other_key
        assert torch.equal(one, other)
    target = random_complex(plain.z.shape[:1] + SETTINGS[name][1], 0).real
    for network in (plain, fast):
        (network() - target).square().sum().backward()
    torch.testing.assert_close(fast(), plain(), rtol=0, atol=1e-12)
    for p, q in zip(plain.parameters(), fast.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert (p.grad - q.grad).norm() <= 1e-9 * p.grad.norm()


def losses(compute: ComputeConfig, iterations: int = 20) -> torch.Tensor:
    """The course of a fit of a phantom."""
    mps = torch.from_numpy(coil_maps((64, 64), 4))
    mask = torch.zeros(64, 64)
    mask[::2] = mask[24:40] = 1
    img = torch.from_numpy(head((64, 64), 0.0, seed=0))
    network = build_network(NetworkConfig(layers=4, channels=16), 2, (64, 64), torch.Generator().manual_seed(0), compute)
    course: list[float] = []

    def record(progress: Progress) -> None:
        course.append(progress.loss)

    with arithmetic(compute, CPU):
        fit(network, Sense(mps, mask), fft2(mps * img) * mask, FitConfig(iterations=iterations), Watch(follow=record))
    return torch.tensor(course)


def test_fits_follow_the_plain_one() -> None:
    """The loss within 2 % in float32 and 10 % in bfloat16, after every one of 20 iterations; the same seed, the same numbers."""
    plain, fast, bf16 = losses(PLAIN), losses(FLOAT32), losses(BF16)
    torch.testing.assert_close(fast, plain, rtol=0.02, atol=0)
    torch.testing.assert_close(bf16, plain, rtol=0.1, atol=0)
    assert torch.equal(fast, losses(FLOAT32))
    assert torch.equal(bf16, losses(BF16))


def test_bfloat16_leaves_weights_and_image_as_they_are() -> None:
    network = make("doubling", BF16)
    image = network()
    image.sum().backward()
    assert image.dtype == torch.float32
    assert all(p.dtype == torch.float32 and p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters())
    difference = (image - make("doubling", FLOAT32)()).norm() / image.norm()
    assert 0 < difference < 0.05


def test_precision_is_chosen_by_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for amx, expected in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda amx=amx: amx, raising=False)
        assert precision(ComputeConfig(), CPU) == expected
        assert precision(ComputeConfig(precision="tf32"), CPU) == "tf32"
        assert precision(ComputeConfig(path="plain", precision="bf16"), CPU) == "float32"
    monkeypatch.delattr("torch.cpu._is_amx_tile_supported")
    assert precision(ComputeConfig(), CPU) == "float32"
    for capability, expected in (((7, 5), "float32"), ((8, 0), "bf16"), ((9, 0), "bf16")):
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda device, capability=capability: capability)
        assert precision(ComputeConfig(), torch.device("cuda")) == expected


def test_compilation_is_asked_for_by_its_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling itself takes half a minute on a CPU."""
    modes: list[str] = []
    monkeypatch.setattr(ImageGenerator, "compile", lambda self, mode: modes.append(mode))
    for compute in (FLOAT32, ComputeConfig(compile="default"), ComputeConfig(compile="cuda-graphs"), PLAIN):
        make("doubling", compute)
    assert modes == ["default", "reduce-overhead"]


def test_settings_hold_inside_only() -> None:
    cudnn = torch.backends.cudnn

    def now() -> tuple[bool, bool, bool, bool]:
        return cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic, torch.are_deterministic_algorithms_enabled()

    before = now()
    for compute, expected in (
        (FLOAT32, (False, False, False, False)),
        (ComputeConfig(precision="tf32"), (True, False, False, False)),
        (PLAIN, (False, False, False, False)),
        (ComputeConfig(precision="float32", deterministic=True), (False, False, True, True)),
    ):
        with arithmetic(compute, CPU):
            assert now() == expected
        assert now() == before
