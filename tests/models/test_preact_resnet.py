"""The forward pass of the pre-activation networks, on fixed weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cosweep.models.preact_resnet import PreActResNet, PreActResNet18, Shortcut
from cosweep.models.wide_resnet import WideResNet
from tests.models.small import small


def waves(count: int, phase: float) -> Tensor:
    """Fixed numbers in [-0.4, 0.4]."""
    return 0.4 * torch.sin(torch.arange(count, dtype=torch.float64) * 0.7 + phase)


def fixed(network: nn.Module) -> nn.Module:
    """The network in double precision and eval mode, all weights and statistics waves."""
    network = network.double().eval()
    with torch.no_grad():
        for place, (name, value) in enumerate(sorted(network.state_dict().items())):
            if value.is_floating_point():
                value.copy_(waves(value.numel(), place).view_as(value) + ("running_var" in name or "norm" in name))
    return network


X = waves(2 * 3 * 6 * 6, 0.5).view(2, 3, 6, 6)


def by_hand(weights: dict[str, Tensor], shortcut: Shortcut, *, last_norm: bool) -> Tensor:
    """Logits of a network of two stages of one block each, written out."""

    def activated(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (weights[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        scale = weight / torch.sqrt(var + 1e-5)
        return functional.relu((x - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + bias.view(-1, 1, 1))

    def convolved(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = weights[f"{name}.weight"]
        return functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    x = convolved(X, "stem")
    inner = convolved(activated(x, "blocks.0.norm1"), "blocks.0.conv1")
    x = x + convolved(activated(inner, "blocks.0.norm2"), "blocks.0.conv2")
    first = activated(x, "blocks.1.norm1")
    inner = convolved(first, "blocks.1.conv1", stride=2)
    beside = convolved(x if shortcut == "input" else first, "blocks.1.shortcut", stride=2)
    x = beside + convolved(activated(inner, "blocks.1.norm2"), "blocks.1.conv2")
    x = activated(x, "norm") if last_norm else x
    return x.mean(dim=(2, 3)) @ weights["head.weight"].T + weights["head.bias"]


@pytest.mark.parametrize(
    ("shortcut", "last_norm", "logits"),
    [
        ("input", True, [0.166075314, 0.059160069, 0.456235718]),
        ("input", False, [-2.130342656, 2.45940964, -1.77048385]),
        ("preactivation", True, [0.181603988, 0.019626261, 0.515206317]),
        ("preactivation", False, [-1.935827403, 2.205710592, -1.486917283]),
    ],
)
def test_logits_are_those_of_the_network_written_out(shortcut: Shortcut, last_norm: bool, logits: list[float]) -> None:
    network = fixed(PreActResNet(width=2, shortcut=shortcut, last_norm=last_norm).network(3, (3, 6, 6)))
    expected = by_hand(network.state_dict(), shortcut, last_norm=last_norm)
    assert expected[0].tolist() == pytest.approx(logits, abs=1e-8)
    torch.testing.assert_close(network(X), expected, atol=1e-12, rtol=1e-12)


def test_a_shortcut_convolution_reads_the_input_in_preact_resnet18_and_the_preactivation_elsewhere() -> None:
    """In most published code of fast adversarial training it reads the input; on the same weights logits differ."""
    assert PreActResNet18().shortcut == "input"
    assert PreActResNet().shortcut == "preactivation"
    by_name = {
        name: fixed(PreActResNet(width=4, blocks=(2, 2, 2, 2), shortcut=name).network(3, (3, 8, 8)))
        for name in ("input", "preactivation")
    }
    x = waves(3 * 8 * 8, 0.0).view(1, 3, 8, 8)
    released = fixed(small("preact_resnet18").network(3, (3, 8, 8)))(x)
    assert torch.equal(released, by_name["input"](x))
    assert (released - by_name["preactivation"](x)).abs().max() > 1e-3


def test_wide_resnets_shortcut_reads_the_preactivation() -> None:
    network = fixed(WideResNet(depth=10, width=1).network(3, (3, 6, 6)))
    x = network.stem(X)  # type: ignore[operator]
    for block in network.blocks:  # type: ignore[union-attr]
        first = functional.relu(block.norm1(x))
        beside = x if block.shortcut is None else block.shortcut(first)
        x = beside + block.conv2(functional.relu(block.norm2(block.conv1(first))))
    expected = network.head(functional.relu(network.norm(x)).mean(dim=(2, 3)))  # type: ignore[operator]
    torch.testing.assert_close(network(X), expected)


def test_variants_have_the_same_weights_and_start_from_the_same_draws() -> None:
    """So that the shortcut alone differs between two trials of one seed."""
    mean, std = torch.zeros(3), torch.ones(3)
    one, other = (
        PreActResNet(shortcut=name).build(10, (3, 8, 8), mean, std, seed=1).state_dict()
        for name in ("input", "preactivation")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
