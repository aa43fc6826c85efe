"""Pre-activation residual networks (He et al., ECCV 2016) of any width and depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional

from cosweep.errors import Fault
from cosweep.models.base import Model
from cosweep.specs import number

Shortcut = Literal["input", "preactivation"]
_MOST_BLOCKS = 1000
_MOST_CHANNELS = 16384


@dataclass(frozen=True, kw_only=True)
class PreActResNet(Model):
    """Pre-activation ResNet; stage i has ``width * 2**i`` channels and ``blocks[i]`` blocks.

    Attributes:
        shortcut: What the convolution beside a block that changes width or size reads: the block's ``input``, or its
            ``preactivation``, which is the input after the first norm and ReLU. As many weights, another function.
        last_norm: Whether a norm and its ReLU stand before the mean over positions and the head; both or neither.
    """

    name: ClassVar[str] = "preact_resnet"
    source: ClassVar[str] = "He et al., ECCV 2016"

    width: int = number(8, low=1, high=4096)
    blocks: tuple[int, ...] = number((1, 1), low=1, high=1000)
    shortcut: Shortcut = "preactivation"
    last_norm: bool = True

    def faults(self) -> Iterator[Fault]:
        yield from super().faults()
        if not self.blocks:
            yield Fault("blocks", "empty; give the number of blocks of each stage, such as [2, 2, 2, 2]")
        if sum(self.blocks) > _MOST_BLOCKS:
            yield Fault("blocks", f"has {sum(self.blocks):,} blocks in all; at most {_MOST_BLOCKS:,} are allowed")
        elif self.width * 2 ** (len(self.blocks) - 1) > _MOST_CHANNELS:
            yield Fault(
                "blocks",
                f"each stage doubles the channels, which would be {self.width} * 2**{len(self.blocks) - 1} after "
                f"{len(self.blocks)} stages; at most {_MOST_CHANNELS:,} are allowed",
            )

    def network(self, num_classes: int, shape: tuple[int, int, int]) -> nn.Module:
        widths = [self.width * 2**stage for stage in range(len(self.blocks))]
        return PreActNetwork(
            shape[0], num_classes, self.width, widths, self.blocks, shortcut=self.shortcut, last_norm=self.last_norm
        )


@dataclass(frozen=True, kw_only=True)
class PreActResNet18(PreActResNet):
    """The PreActResNet18 of the fast adversarial training literature: width 64, blocks 2, 2, 2, 2.

    Its shortcuts read the block's input, as in the code of Ortiz-Jimenez et al., Wong et al., N-FGSM, AAER and LAP; in
    that of ELLE and ZeroGrad they read the pre-activation.
    """

    name: ClassVar[str] = "preact_resnet18"
    source: ClassVar[str] = "He et al., ECCV 2016; Wong et al., ICLR 2020"

    width: int = number(64, low=1, high=4096)
    blocks: tuple[int, ...] = number((2, 2, 2, 2), low=1, high=1000)
    shortcut: Shortcut = "input"


class PreActNetwork(nn.Module):
    """3x3 stem, pre-activation blocks, mean over positions, linear head; each stage but the first halves the image.

    Args:
        channels: C of the images.
        num_classes: K.
        stem: Channels after the stem.
        widths: Channels of each stage.
        blocks: Blocks of each stage.
        shortcut: What the convolutions beside blocks read.
        last_norm: Whether a norm and its ReLU stand before the mean.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        stem: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        *,
        shortcut: Shortcut = "preactivation",
        last_norm: bool = True,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        layers: list[nn.Module] = []
        fan_in = stem
        for stage, (fan_out, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                layers.append(_Block(fan_in, fan_out, 2 if stage and not block else 1, shortcut))
                fan_in = fan_out
        self.blocks = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(fan_in) if last_norm else None
        self.head = nn.Linear(fan_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        if self.norm is not None:
            x = functional.relu(self.norm(x))
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(self, fan_in: int, fan_out: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.reads_input = shortcut == "input"
        self.norm1 = nn.BatchNorm2d(fan_in)
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(fan_out)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        same = stride == 1 and fan_in == fan_out
        self.shortcut = None if same else nn.Conv2d(fan_in, fan_out, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = functional.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(x if self.reads_input else activated)
        out: Tensor = self.conv2(functional.relu(self.norm2(self.conv1(activated))))
        return out + shortcut
