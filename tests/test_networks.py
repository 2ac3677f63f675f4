import pytest
import torch
from torch import Tensor, nn

from untrained_recon.config import ComputeConfig, NetworkConfig, load_config
from untrained_recon.errors import ConfigError
from untrained_recon.kinds import KINDS, Kind
from untrained_recon.networks import DeepDecoder, ImageGenerator, build_network, layer_sizes, to_complex

SMALL = {
    "convdecoder": NetworkConfig(layers=4, channels=8, in_size=[4, 3]),
    "convdecoder-authors": NetworkConfig(layers=4, channels=8, in_size=[4, 3], extra_layer=True, input="uniform"),
    "deep-decoder": NetworkConfig(kind="deep-decoder", layers=4, channels=8, in_size=[4, 3]),
    "dip": NetworkConfig(kind="dip", layers=6, channels=8, skips=2),
}
every_network = pytest.mark.parametrize("name", SMALL)


def make(name: str, seed: int = 0, out_size: tuple[int, int] = (17, 12)) -> ImageGenerator:
    return build_network(SMALL[name], 6, out_size, torch.Generator().manual_seed(seed))


def count(parameters: list[nn.Parameter]) -> int:
    return sum(p.numel() for p in parameters)


def decoder(kernel: int, layers: int, channels: int, out_channels: int) -> int:
    return (layers - 1) * (kernel**2 * channels**2 + 2 * channels) + out_channels * channels


def dip(layers: int, c: int, skips: int, out_channels: int) -> int:
    down = 2 * (9 * c**2 + 2 * c)
    up = 2 * c + (9 * c**2 + 2 * c) + (c**2 + 2 * c)
    skip = (4 * c + 2 * 4) + 2 * 4 + 9 * 4 * c  # its own convolution, and what it widens
    return layers // 2 * (down + up) + skips * skip + out_channels * c


@pytest.mark.parametrize(
    ("preset", "coils", "parameters"),
    [
        ("knee-4x", 15, 7 * (9 * 256**2 + 2 * 256) + 30 * 256),
        ("knee-8x", 15, decoder(3, 6, 64, 30)),
        ("brain-4x", 1, decoder(3, 5, 64, 2)),
        ("knee-4x-dd", 15, decoder(1, 10, 368, 30)),
        ("brain-4x-dd", 1, decoder(1, 10, 64, 2)),
        ("knee-4x-dip", 15, dip(16, 256, 2, 30)),
        ("brain-4x-dip", 1, dip(12, 64, 4, 2)),
    ],
)
def test_parameter_counts_of_the_papers_configurations(preset: str, coils: int, parameters: int) -> None:
    network = build_network(load_config(preset).network, 2 * coils, (64, 40), torch.Generator().manual_seed(0))
    assert count(list(network.parameters())) == parameters


def test_layer_sizes_of_the_papers_knee_network() -> None:
    assert layer_sizes((10, 5), (640, 368), 8) == [(19, 10), (33, 18), (60, 32), (108, 59), (196, 108), (354, 200), (640, 368)]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("convdecoder", [(7, 5), (11, 8), (17, 12), (17, 12)]),
        ("convdecoder-authors", [(7, 5), (11, 8), (17, 12), (17, 12), (17, 12)]),
        ("deep-decoder", [(7, 5), (11, 8), (17, 12), (17, 12)]),
        ("dip", [(9, 6), (5, 3), (3, 2), (5, 3), (9, 6), (17, 12), (17, 12)]),
    ],
)
def test_layer_outputs_have_the_sizes_of_their_layers_and_end_in_the_image(name: str, sizes: list[tuple[int, int]]) -> None:
    network = make(name)
    outputs = network.layer_outputs()
    assert [tuple(out.shape) for out in outputs] == [(8, *size) for size in sizes[:-1]] + [(6, *sizes[-1])]
    assert torch.equal(outputs[-1], network())
    assert not any(out.requires_grad for out in outputs)


@every_network
def test_parameters_by_layer_are_all_parameters_in_the_order_of_the_layers(name: str) -> None:
    network = make(name)
    layers = network.layer_parameters()
    assert [p for layer in layers for p in layer] == list(network.parameters())
    assert len(layers) == len(network.layer_outputs())
    assert count(layers[-1]) == 6 * 8
    assert "z" not in dict(network.named_parameters())


@every_network
@pytest.mark.parametrize("out_size", [(31, 45), (1, 2), (5, 64), (2, 2)])
def test_any_size_goes(name: str, out_size: tuple[int, int]) -> None:
    image = make(name, out_size=out_size)()
    assert image.shape == (6, *out_size)
    assert torch.isfinite(image).all()


@every_network
def test_seed_fixes_input_and_weights_without_touching_global_randomness(name: str) -> None:
    state = torch.random.get_rng_state()
    one, same, other = make(name, 0), make(name, 0), make(name, 1)
    assert torch.equal(one(), same())
    assert not torch.equal(one.z, other.z)
    assert torch.equal(state, torch.random.get_rng_state())


@every_network
def test_saving_memory_gives_the_same_gradients(name: str) -> None:
    plain, sparing = make(name), make(name)
    sparing.save_memory = True
    for network in (plain, sparing):
        network().square().sum().backward()
    for p, q in zip(plain.parameters(), sparing.parameters(), strict=True):
        assert p.grad is not None
        assert torch.equal(p.grad, q.grad)  # type: ignore[arg-type]


@every_network
def test_every_network_fits_a_smooth_image(name: str) -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 17), torch.linspace(-1, 1, 12), indexing="ij")
    target = torch.stack([torch.exp(-(y**2) - (x - c) ** 2) for c in torch.linspace(-1, 1, 6)])
    network = make(name)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = (network() - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.03 * losses[0]


def test_inputs_follow_their_distribution() -> None:
    normal, uniform = make("convdecoder").z, make("convdecoder-authors").z
    assert normal.min() < 0
    assert uniform.min() >= 0
    assert uniform.max() < 1


def kinds(layer: nn.Module) -> list[str]:
    return [type(part).__name__ for part in layer.children()]


def test_order_within_the_layers_of_the_decoders() -> None:
    *hidden, extra, head = make("convdecoder-authors").layers
    assert [kinds(layer) for layer in hidden] == [["Upsample", "Conv2d", "ReLU", "BatchNorm2d"]] * 3
    assert kinds(extra) == ["Conv2d", "ReLU", "BatchNorm2d"]
    assert isinstance(head, nn.Conv2d)
    assert head.kernel_size == (1, 1)


def test_deep_decoder_is_the_papers_upsampling_before_its_convolution() -> None:
    network = make("deep-decoder")
    assert isinstance(network, DeepDecoder)
    expected: Tensor = network.z
    *hidden, head = network.layers
    for layer, size in zip(hidden, layer_sizes((4, 3), (17, 12), 4), strict=True):
        mix, norm = layer[0], layer[-1]  # type: ignore[index]
        expected = norm(torch.relu(mix(nn.functional.interpolate(expected, size, mode="bilinear"))))
    torch.testing.assert_close(network(), head(expected)[0], rtol=1e-4, atol=1e-4)


def test_skip_connections_of_dip_are_at_the_coarsest_scales() -> None:
    assert [layer.skip is not None for layer in make("dip").layers[3:6]] == [True, True, False]


def test_to_complex_pairs_neighbouring_channels() -> None:
    channels = torch.arange(8.0).reshape(4, 1, 2)
    expected = torch.tensor([[[0 + 2j, 1 + 3j]], [[4 + 6j, 5 + 7j]]])
    assert torch.equal(to_complex(channels), expected)


def test_a_row_of_the_table_is_all_that_a_network_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(
        settings: NetworkConfig, out_channels: int, out_size: tuple[int, int], generator: torch.Generator, fused: bool
    ) -> ImageGenerator:
        return ImageGenerator([nn.Conv2d(settings.channels, out_channels, 1)], torch.ones(1, settings.channels, *out_size))

    monkeypatch.setitem(KINDS, "own", Kind(build, lambda settings: "own takes 2 layers" if settings.layers != 2 else ""))
    network = build_network(NetworkConfig(kind="own", layers=2), 4, (8, 6), torch.Generator())
    assert network().shape == (4, 8, 6)
    assert load_config("fast", {"network.kind": "own", "network.layers": "2"}).network.kind == "own"
    with pytest.raises(ConfigError, match=r"network: .*own takes 2 layers"):
        load_config("fast", {"network.kind": "own"})


@pytest.mark.parametrize("name", KINDS)
def test_every_row_builds(name: str) -> None:
    settings = NetworkConfig(kind=name, layers=4, channels=8)
    for path in ("fast", "plain"):
        compute = ComputeConfig(path=path, precision="float32")
        assert build_network(settings, 2, (16, 12), torch.Generator(), compute)().shape == (2, 16, 12)
