"""The networks of torchvision: which there are, and what they take."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cosweep.errors import CosweepError, SpecError
from cosweep.models.torchvision_model import TorchvisionModel, architectures
from tests.test_import_boundary import run_python
from tests.tiny import batch

ONE_OF_EACH_FAMILY = [
    "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "maxvit_t", "mnasnet0_5",
    "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet50", "resnext50_32x4d",
    "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vit_b_32", "wide_resnet50_2",
]  # fmt: skip


def logits(architecture: str, x: Tensor, *, train: bool) -> Tensor:
    shape = (x.shape[1], x.shape[2], x.shape[3])
    mean, std = torch.full((shape[0],), 0.4), torch.full((shape[0],), 0.2)
    model = TorchvisionModel(architecture=architecture).build(10, shape, mean, std, seed=0)
    out: Tensor = model.train(train)(x)
    return out


@pytest.mark.parametrize("architecture", ONE_OF_EACH_FAMILY)
def test_each_family_takes_the_images_it_was_made_for(architecture: str) -> None:
    TorchvisionModel(architecture=architecture).check(10, (3, 224, 224))


@pytest.mark.slow
def test_every_architecture_takes_the_images_it_was_made_for() -> None:
    assert len(architectures()) > 60
    for architecture in architectures():
        TorchvisionModel(architecture=architecture).check(10, (3, 224, 224))


@pytest.mark.parametrize(
    ("architecture", "shape", "reason"),
    [
        ("squeezenet1_1", (1, 8, 8), "output size is too small"),
        ("convnext_tiny", (3, 8, 8), "can't be greater than actual input size"),
        ("maxvit_t", (3, 64, 64), "not divisible by partition size 7"),
        ("vit_b_32", (3, 48, 48), "indivisible by patch size"),
        ("vit_b_32", (3, 64, 32), "Wrong image width"),
    ],
)
def test_images_that_do_not_fit_are_one_error_with_the_reason(
    architecture: str, shape: tuple[int, int, int], reason: str
) -> None:
    size = f"{shape[1]}x{shape[2]}"
    with pytest.raises(
        CosweepError, match=rf"(?i)architecture: {architecture}\}} .* {size} .*{reason}.*; give"
    ) as caught:
        TorchvisionModel(architecture=architecture).check(10, shape)
    assert "\n" not in str(caught.value)


def test_a_check_agrees_with_the_network_itself() -> None:
    model = TorchvisionModel(architecture="squeezenet1_1")
    for side in (8, 16, 17, 24):
        x, _ = batch(2, (3, side, side))
        try:
            logits("squeezenet1_1", x, train=True)
        except RuntimeError:
            with pytest.raises(CosweepError, match="too small"):
                model.check(10, (3, side, side))
        else:
            model.check(10, (3, side, side))


def test_vision_transformers_are_built_for_the_size_of_the_images() -> None:
    TorchvisionModel(architecture="vit_b_32").check(10, (3, 64, 64))


def test_grey_images_are_taken_as_colour_images_without_colour() -> None:
    x, _ = batch(2, (1, 32, 32))
    grey, colour = logits("squeezenet1_1", x, train=False), logits("squeezenet1_1", x.repeat(1, 3, 1, 1), train=False)
    torch.testing.assert_close(grey, colour)


def test_other_numbers_of_channels_are_an_error_before_and_at_building() -> None:
    x, _ = batch(2, (4, 32, 32))
    with pytest.raises(CosweepError, match="1 or 3 channels, got 4"):
        logits("resnet18", x, train=False)
    with pytest.raises(CosweepError, match="1 or 3 channels, got 4"):
        TorchvisionModel().check(10, (4, 32, 32))


def test_what_a_network_draws_in_training_follows_from_the_global_seed() -> None:
    x, _ = batch(4, (3, 32, 32))
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(logits("squeezenet1_1", x, train=True))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_an_unknown_architecture_is_answered_with_the_nearest() -> None:
    with pytest.raises(SpecError, match="unknown architecture 'resnet51'; did you mean 'resnet50'"):
        TorchvisionModel(architecture="resnet51")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("vgg16", "its adaptive pooling has no deterministic gradient on a GPU"),
        ("vgg11_bn", "its adaptive pooling has no deterministic gradient on a GPU"),
        ("alexnet", "its adaptive pooling has no deterministic gradient on a GPU"),
        ("googlenet", "in training it returns logits of auxiliary heads besides its own"),
        ("inception_v3", "in training it returns logits of auxiliary heads besides its own"),
    ],
)
def test_classifiers_that_are_left_out_are_told_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(SpecError, match=f"'{name}' is left out: {why}.*; use another, such as resnet18"):
        TorchvisionModel(architecture=name)


@pytest.mark.parametrize("name", ["fcn_resnet50", "quantized_resnet50", "r3d_18"])
def test_networks_that_do_not_return_logits_of_images_alone_are_unknown(name: str) -> None:
    with pytest.raises(SpecError, match=f"unknown architecture '{name}'"):
        TorchvisionModel(architecture=name)


def test_torchvision_is_imported_only_for_its_own_models() -> None:
    run_python("import sys, cosweep.training; cosweep.training.TrialSpec(); assert 'torchvision' not in sys.modules")


@pytest.mark.parametrize(
    ("architecture", "differentiable"),
    [("resnet18", True), ("vit_b_32", True), ("mobilenet_v3_small", False)],
)
def test_a_network_that_lacks_second_derivatives_is_found_out(architecture: str, differentiable: bool) -> None:
    """Fused attention has none either, so that it is computed plainly where they are taken."""
    model = TorchvisionModel(architecture=architecture)
    if differentiable:
        model.check_second_derivative(10, (3, 64, 64))
        return
    with pytest.raises(CosweepError, match=r"has no second derivative in the input.*leave out grad_align"):
        model.check_second_derivative(10, (3, 64, 64))
