"""Models: laws over all of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cosweep.errors import CosweepError, SpecError
from cosweep.models import MODELS, Model
from cosweep.models.normalize import Normalize
from cosweep.models.wide_resnet import WideResNet
from tests.models.small import built, small
from tests.tiny import batch, weights_of

SHAPES = [(1, 8, 8), (3, 32, 32)]


def number_of_weights(model: Model) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in model.network(10, (3, 32, 32)).parameters())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [10, 100])
def test_logits_have_one_column_per_class(name: str, shape: tuple[int, int, int], classes: int) -> None:
    x, _ = batch(2, shape)
    with torch.no_grad():
        logits = built(name, shape, classes=classes).eval()(x)
    assert logits.shape == (2, classes)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", MODELS)
def test_same_seed_gives_the_same_weights_and_another_seed_others(name: str) -> None:
    one, same, different = (weights_of(built(name, seed=seed)) for seed in (3, 3, 4))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], different[key]) for key in one)


@pytest.mark.parametrize("name", MODELS)
def test_building_draws_nothing_from_the_global_generator(name: str) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    built(name)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_normalisation_is_part_of_the_model_as_buffers(name: str, shape: tuple[int, int, int]) -> None:
    model = built(name, shape)
    buffers = dict(model.named_buffers())
    torch.testing.assert_close(buffers["0.mean"].flatten(), torch.full((shape[0],), 0.4))
    torch.testing.assert_close(buffers["0.std"].flatten(), torch.full((shape[0],), 0.2))
    assert {"0.mean", "0.std"} <= set(model.state_dict())
    assert not {"0.mean", "0.std"} & {parameter for parameter, _ in model.named_parameters()}


@pytest.mark.parametrize("name", MODELS)
def test_the_input_gradient_reaches_every_example(name: str) -> None:
    x, _ = batch(3)
    x.requires_grad_()
    built(name).eval()(x).logsumexp(dim=1).sum().backward()
    assert x.grad is not None
    assert (x.grad.flatten(1).abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_an_example_is_judged_alone_in_eval_mode(name: str) -> None:
    x, _ = batch(4)
    model = built(name).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(x)[1:2], model(x[1:2]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_only_a_model_that_says_so_draws_random_numbers_as_it_trains(name: str) -> None:
    x, _ = batch(2)
    model = built(name).train()
    before = torch.get_rng_state()
    model(x)
    assert MODELS[name].draws or torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("model", [*MODELS.values()], ids=[*MODELS])
@pytest.mark.parametrize("shape", SHAPES)
def test_checking_a_model_of_any_size_is_quick_and_draws_nothing(
    model: type[Model], shape: tuple[int, int, int]
) -> None:
    before = torch.get_rng_state()
    model().check(1000, shape)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_that_halves_the_image_to_a_pixel_cannot_train_on_one_image() -> None:
    model = small("preact_resnet", blocks=(1, 1, 1, 1))
    model.check(10, (1, 8, 8), batch=2)
    expected = (
        r"^\{name: preact_resnet, .*\} cannot train on a batch of 1 image of 8x8 .*more than 1 value.*batch size$"
    )
    with pytest.raises(CosweepError, match=expected):
        model.check(10, (1, 8, 8), batch=1)


def test_normalised_images_have_mean_zero_and_deviation_one_per_channel() -> None:
    x, _ = batch(50, (3, 8, 8))
    x = x * torch.tensor([1.0, 0.5, 0.1]).view(1, 3, 1, 1)
    out = Normalize(x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3)))(x)
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-5, rtol=0)


def test_preact_resnet18_has_the_published_number_of_weights() -> None:
    """11,171,146 in kuangliu/pytorch-cifar, and 2 x 512 of the norm before the head that adversarial training adds."""
    assert number_of_weights(MODELS["preact_resnet18"]()) == 11_171_146 + 1024


@pytest.mark.parametrize(
    ("depth", "width", "millions"), [(28, 10, 36.48), (34, 10, 46.16), (40, 4, 8.9), (16, 8, 11.0)]
)
def test_wide_resnet_has_the_published_number_of_weights(depth: int, width: int, millions: float) -> None:
    """The paper prints one decimal, the adversarial training literature two."""
    assert number_of_weights(WideResNet(depth=depth, width=width)) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(("depth", "nearest"), [(11, "10 or 16"), (30, "28 or 34"), (33, "28 or 34"), (35, "34 or 40")])
def test_a_depth_that_no_wide_resnet_has_is_answered_with_the_nearest(depth: int, nearest: str) -> None:
    with pytest.raises(SpecError, match=rf"^depth: must be 6n \+ 4, got {depth}; write {nearest}$"):
        WideResNet(depth=depth)


def test_depth_of_a_wide_resnet_counts_all_its_convolutions() -> None:
    assert sum(isinstance(m, nn.Conv2d) for m in built("wide_resnet", depth=16, width=2).modules()) == 16


def test_small_cnn_is_one_convolution_and_one_linear_layer() -> None:
    layers = [m for m in built("small_cnn").modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.Linear]
