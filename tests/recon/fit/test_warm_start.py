import torch
from torch import nn

from untrained_recon.recon.fit.warm_start import Neighbour


def network(channels: int = 3) -> nn.Module:
    return nn.Conv2d(2, channels, 3)


def test_weights_are_kept_as_they_were_and_lent_under_their_name() -> None:
    neighbour, first, second = Neighbour(), network(), network()
    assert not neighbour.lend("run 0", second)
    neighbour.keep("run 0", first)
    kept = {name: value.clone() for name, value in first.state_dict().items()}
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    assert not neighbour.lend("run 1", second)
    assert neighbour.lend("run 0", second)
    assert all(torch.equal(value, kept[name]) for name, value in second.state_dict().items())


def test_a_network_of_another_shape_starts_anew() -> None:
    neighbour = Neighbour()
    neighbour.keep("run 0", network())
    assert not neighbour.lend("run 0", network(4))
