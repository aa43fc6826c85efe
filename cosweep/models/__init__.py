"""Models that a trial may train."""

from cosweep.models.base import Model
from cosweep.models.preact_resnet import PreActResNet, PreActResNet18
from cosweep.models.small_cnn import SmallCNN
from cosweep.models.torchvision_model import TorchvisionModel
from cosweep.models.wide_resnet import WideResNet

MODELS: dict[str, type[Model]] = {
    "preact_resnet": PreActResNet,
    "preact_resnet18": PreActResNet18,
    "small_cnn": SmallCNN,
    "wide_resnet": WideResNet,
    "torchvision": TorchvisionModel,
}

__all__ = ["MODELS", "Model"]
