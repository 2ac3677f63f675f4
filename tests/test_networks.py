import pytest
import torch

from untrained_recon.config import load_config
from untrained_recon.networks import ConvDecoder, layer_sizes, to_complex


def make(seed: int = 0, **changes: object) -> ConvDecoder:
    settings = {"in_size": (4, 3), "layers": 4, "channels": 8} | changes
    return ConvDecoder(6, (17, 12), generator=torch.Generator().manual_seed(seed), **settings)  # type: ignore[arg-type]


def test_layer_sizes_of_the_papers_knee_network() -> None:
    assert layer_sizes((10, 5), (640, 368), 8) == [(19, 10), (33, 18), (60, 32), (108, 59), (196, 108), (354, 200), (640, 368)]


@pytest.mark.parametrize(
    ("preset", "coils", "parameters"),
    [
        ("knee-4x", 15, 7 * (9 * 256**2 + 2 * 256) + 30 * 256),
        ("knee-8x", 15, 5 * (9 * 64**2 + 2 * 64) + 30 * 64),
        ("brain-4x", 1, 4 * (9 * 64**2 + 2 * 64) + 2 * 64),
    ],
)
def test_parameter_counts_of_the_papers_configurations(preset: str, coils: int, parameters: int) -> None:
    n = load_config(preset).network
    network = ConvDecoder(
        2 * coils,
        (64, 40),
        in_size=(n.in_size[0], n.in_size[1]),
        layers=n.layers,
        channels=n.channels,
        generator=torch.Generator().manual_seed(0),
    )
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_output_shape_and_layer_order() -> None:
    network = make()
    assert network().shape == (6, 17, 12)
    kinds = [[type(m).__name__ for m in layer.children()] for layer in network.body]
    assert kinds == [["Upsample", "Conv2d", "ReLU", "BatchNorm2d"]] * 3
    assert network.head.kernel_size == (1, 1)


def test_seed_fixes_input_and_weights_without_touching_global_randomness() -> None:
    state = torch.random.get_rng_state()
    one, same, other = make(0), make(0), make(1)
    assert torch.equal(one(), same())
    assert not torch.equal(one.z, other.z)
    assert torch.equal(state, torch.random.get_rng_state())


def test_input_is_fixed_and_not_fitted() -> None:
    assert "z" not in dict(make().named_parameters())


def test_to_complex_pairs_neighbouring_channels() -> None:
    channels = torch.arange(8.0).reshape(4, 1, 2)
    expected = torch.tensor([[[0 + 2j, 1 + 3j]], [[4 + 6j, 5 + 7j]]])
    assert torch.equal(to_complex(channels), expected)


def test_saving_memory_gives_the_same_gradients() -> None:
    plain, sparing = make(), make()
    sparing.save_memory = True
    for network in (plain, sparing):
        network().square().sum().backward()
    for p, q in zip(plain.parameters(), sparing.parameters(), strict=True):
        assert p.grad is not None
        assert torch.equal(p.grad, q.grad)  # type: ignore[arg-type]
