from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from untrained_recon.errors import WeightsError
from untrained_recon.recon.networks.unet import UNet, load_unet, unet_reconstruct


def fastmri_names(pools: int) -> set[str]:
    """The names in fastMRI's published state dicts."""
    pair = ("layers.0.weight", "layers.4.weight")
    names = {f"down_sample_layers.{i}.{end}" for i in range(pools) for end in pair} | {f"conv.{end}" for end in pair}
    names |= {f"up_transpose_conv.{i}.layers.0.weight" for i in range(pools)}
    names |= {f"up_conv.{i}.{end}" for i in range(pools - 1) for end in pair} | {f"up_conv.{pools - 1}.0.{end}" for end in pair}
    return names | {f"up_conv.{pools - 1}.1.weight", f"up_conv.{pools - 1}.1.bias"}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.fixture
def unet() -> UNet:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return UNet(chans=4, pools=3)


def test_fastmris_baseline_has_its_parameters_and_names() -> None:
    baseline = UNet()
    assert sum(p.numel() for p in baseline.parameters()) == 7_756_097
    assert set(baseline.state_dict()) == fastmri_names(4)


def test_one_image_through_two_scales_by_hand() -> None:
    """One channel, one halving, all kernels a single 1 in the centre: what is left are norms, rectifiers and resampling."""
    unet = UNet(chans=1, pools=1)
    for p in unet.parameters():
        torch.nn.init.zeros_(p)
        if p.shape[-1] == 3:
            p.data[:, :, 1, 1] = 1
        elif p.shape[-1] == 2 or p.ndim == 4:
            p.data[:] = 1

    def block(x: Tensor) -> Tensor:
        return torch.where(norm(x) > 0, norm(x), 0.2 * norm(x))

    def norm(x: Tensor) -> Tensor:
        return (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()

    x = torch.rand(1, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    fine = block(block(x))
    coarse = block(block(fine.reshape(1, 1, 3, 2, 4, 2).mean(dim=(3, 5))))  # doubled by its two equal channels, undone by the norm
    up = block(coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    expected = block(block(up + fine))
    torch.testing.assert_close(unet(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(48, 32), (33, 47), (16, 16), (5, 40), (3, 2)])
def test_any_size_comes_back_in_its_own_units(unet: UNet, shape: tuple[int, int]) -> None:
    img = np.random.default_rng(0).random(shape, np.float32)
    out = unet_reconstruct(unet, img)
    assert out.shape == shape
    assert out.dtype == np.float32
    np.testing.assert_allclose(unet_reconstruct(unet, 1000 * img), 1000 * out, rtol=1e-3, atol=1e-1)


def test_input_is_normalised_clamped_and_output_brought_back() -> None:
    seen = []

    class Identity(UNet):
        def forward(self, imgs: Tensor) -> Tensor:
            seen.append(imgs)
            return imgs

    img = np.zeros((20, 20), np.float32)
    img[0, 0], img[1, 1] = 100, 1
    out = unet_reconstruct(Identity(1, 1), img)
    assert seen[0].shape == (1, 1, 20, 20)
    assert seen[0].max() == 6
    assert out[0, 0] == pytest.approx(img.mean() + 6 * img.std(ddof=1), rel=1e-5)
    np.testing.assert_allclose(out.flat[1:], img.flat[1:], atol=1e-5)


@pytest.mark.parametrize("form", ["state dict", "lightning", "half precision"])
def test_weights_come_back_whatever_wraps_them(unet: UNet, form: str, tmp_path: Path) -> None:
    weights = unet.state_dict()
    if form == "half precision":
        weights = {name: tensor.half() for name, tensor in weights.items()}
    wrapped = {"state_dict": {f"unet.{name}": t for name, t in weights.items()}, "epoch": 3, "hyper_parameters": {"lr": 1e-3}}
    loaded = load_unet(saved(tmp_path / "unet.pt", wrapped if form == "lightning" else weights))
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, weights[name].float())
    if form != "half precision":
        img = np.random.default_rng(0).random((24, 24), np.float32)
        np.testing.assert_array_equal(unet_reconstruct(loaded, img), unet_reconstruct(unet, img))


def test_loading_draws_no_random_numbers(unet: UNet, tmp_path: Path) -> None:
    path = saved(tmp_path / "unet.pt", unet.state_dict())
    state = torch.random.get_rng_state()
    load_unet(path)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("conv.layers.4.weight"), r"bad\.pt: the tensor 'conv\.layers\.4\.weight' is missing"),
        (lambda w: w.update({"conv.bias": torch.ones(1)}), r"bad\.pt: the tensor 'conv\.bias' is none of this U-net's"),
        (
            lambda w: w.update({"up_conv.2.1.weight": torch.ones(2, 4, 1, 1)}),
            r"bad\.pt: the tensor 'up_conv\.2\.1\.weight' has the shape \(2, 4, 1, 1\), not \(1, 4, 1, 1\)",
        ),
        (
            lambda w: w.pop("down_sample_layers.0.layers.0.weight"),
            r"no tensor 'down_sample_layers\.0\.layers\.0\.weight' of 4 axes",
        ),
        (lambda w: w.update({"down_sample_layers.0.layers.0.weight": torch.ones(4)}), "of 4 axes"),
        (lambda w: w.update(epoch=3), "neither a state dict nor one under 'state_dict'"),
    ],
)
def test_weights_of_another_network_name_file_and_tensor(unet: UNet, change: object, message: str, tmp_path: Path) -> None:
    weights = dict(unet.state_dict())
    change(weights)  # type: ignore[operator]
    with pytest.raises(WeightsError, match=message):
        load_unet(saved(tmp_path / "bad.pt", weights))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files_are_named(unet: UNet, share: float, tmp_path: Path) -> None:
    path = saved(tmp_path / "bad.pt", unet.state_dict())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(WeightsError, match=r"bad\.pt: cannot be read"):
        load_unet(path)


def test_files_of_other_kinds_are_named_and_not_executed(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="store its state dict alone"):
        load_unet(saved(tmp_path / "bad.pt", {"state_dict": {}, "callback": Path("x")}))
    (tmp_path / "text.pt").write_text("weights")
    with pytest.raises(WeightsError, match=r"text\.pt: cannot be read"):
        load_unet(tmp_path / "text.pt")
    with pytest.raises(WeightsError, match="neither a state dict"):
        load_unet(saved(tmp_path / "list.pt", [1, 2]))
