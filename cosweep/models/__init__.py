"""Models that a trial may train."""

from cosweep.models.base import Model
from cosweep.models.preact_resnet import PreActResNet, PreActResNet18
from cosweep.models.small_cnn import SmallCNN
from cosweep.models.torchvision_model import TorchvisionModel
from cosweep.models.wide_resnet import WideResNet
from cosweep.specs import registry

MODELS: dict[str, type[Model]] = registry(
    PreActResNet,
    PreActResNet18,
    SmallCNN,
    WideResNet,
    TorchvisionModel,
)

__all__ = ["MODELS", "Model"]
