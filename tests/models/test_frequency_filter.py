"""The fixed filter in front of a network, for all models."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from cosweep.data.dct import dct2
from cosweep.data.filters import apply_mask, high_pass_mask, low_pass_mask
from cosweep.errors import CosweepError, SpecError
from cosweep.models import MODELS
from cosweep.models.frequency_filter import FrequencyFilter
from tests.models.small import built, small
from tests.tiny import batch

SIDE = 8
MASKS = {"low_pass": low_pass_mask, "high_pass": high_pass_mask}


def wave(frequency: int, *, along_columns: bool) -> Tensor:
    """(1, 1, 8, 8) cosine of one DCT frequency, constant across the other axis."""
    line = torch.cos(math.pi * (2 * torch.arange(SIDE) + 1) * frequency / (2 * SIDE))
    grid = line.expand(SIDE, SIDE)
    return (grid if along_columns else grid.T)[None, None]


@pytest.mark.parametrize("along_columns", [False, True])
@pytest.mark.parametrize("frequency", range(1, SIDE))
def test_a_low_pass_removes_waves_above_its_cut_along_either_axis_and_a_high_pass_those_below(
    frequency: int, along_columns: bool
) -> None:
    x = wave(frequency, along_columns=along_columns)
    low, high = built("small_cnn", low_pass=5)[0](x), built("small_cnn", high_pass=3)[0](x)
    nothing = torch.zeros_like(x)
    torch.testing.assert_close(low, x if frequency < 5 else nothing, atol=1e-6, rtol=0)
    torch.testing.assert_close(high, x if frequency >= 5 else nothing, atol=1e-6, rtol=0)


@pytest.mark.parametrize("along_columns", [False, True])
@pytest.mark.parametrize("frequency", range(1, SIDE))
def test_the_released_low_pass_lets_every_wave_along_the_columns_through(frequency: int, along_columns: bool) -> None:
    """Its mask, made for one image, cuts one axis of a batch only."""
    x = wave(frequency, along_columns=along_columns)
    kept = built("small_cnn", low_pass=5, low_pass_as_released=True)[0](x)
    passes = along_columns or frequency < 5
    torch.testing.assert_close(kept, x if passes else torch.zeros_like(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("as_released", "share"), [(False, 0.25), (True, 0.5)])
def test_half_the_bandwidth_keeps_a_quarter_of_the_energy_or_as_released_a_half(
    as_released: bool, share: float
) -> None:
    x = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    kept = built("small_cnn", (3, 32, 32), low_pass=16, low_pass_as_released=as_released)[0](x)
    assert (kept.square().sum() / x.square().sum()).item() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("option", MASKS)
@pytest.mark.parametrize("name", MODELS)
def test_the_input_gradient_holds_only_what_the_filter_keeps(name: str, option: str) -> None:
    x, _ = batch(3)
    x.requires_grad_()
    built(name, (1, SIDE, SIDE), **{option: 3}).eval()(x).logsumexp(dim=1).sum().backward()
    assert x.grad is not None
    coefficients, kept = dct2(x.grad).abs(), MASKS[option](3, SIDE, SIDE).bool()
    assert coefficients[..., ~kept].max() < 1e-5 * coefficients[..., kept].max()


@pytest.mark.parametrize("option", MASKS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 10)])
def test_a_filtered_model_sees_images_as_the_same_model_without_sees_filtered_ones(
    name: str, option: str, shape: tuple[int, int, int]
) -> None:
    x, _ = batch(2, shape)
    filtered = apply_mask(x, MASKS[option](3, *shape[1:]))
    with torch.no_grad():
        bare = built(name, shape).eval()
        torch.testing.assert_close(built(name, shape, **{option: 3}).eval()(x), bare(filtered), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(bare(x), bare(filtered), atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_the_filter_travels_with_the_state_of_the_model(name: str) -> None:
    x, _ = batch(2)
    one, other = built(name, seed=0, low_pass=3).eval(), built(name, seed=1, low_pass=5).eval()
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x), other(x))
    assert torch.equal(one.state_dict()["0.mask"], low_pass_mask(3, SIDE, SIDE))
    assert "0.mask" not in dict(one.named_parameters())


def test_the_filter_stands_before_the_normalisation_or_not_at_all() -> None:
    assert [type(layer).__name__ for layer in built("small_cnn", high_pass=1)][:2] == ["FrequencyFilter", "Normalize"]
    assert not any(isinstance(layer, FrequencyFilter) for layer in built("small_cnn").modules())


@pytest.mark.parametrize("option", MASKS)
def test_a_filter_as_wide_as_the_image_keeps_it(option: str) -> None:
    x, _ = batch(2)
    torch.testing.assert_close(built("small_cnn", (1, SIDE, SIDE), **{option: SIDE})[0](x), x)


@pytest.mark.parametrize("option", MASKS)
@pytest.mark.parametrize("name", MODELS)
def test_a_filter_wider_than_the_image_is_an_error_before_and_at_building(name: str, option: str) -> None:
    expected = rf"^{option} must be at most 8, the smaller side of images of 8x9; got 9$"
    with pytest.raises(CosweepError, match=expected):
        built(name, (1, 8, 9), **{option: 9})
    with pytest.raises(CosweepError, match=expected):
        small(name, **{option: 9}).check(10, (1, 8, 9))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"low_pass": 3, "high_pass": 3}, "^high_pass: low_pass is set as well; leave one of them out$"),
        ({"low_pass": 0}, "^low_pass: must be at least 1, got 0$"),
        ({"high_pass": -1}, "^high_pass: must be at least 1, got -1$"),
    ],
)
def test_two_filters_or_an_empty_one_are_faults(name: str, options: dict[str, Any], fault: str) -> None:
    with pytest.raises(SpecError, match=fault):
        small(name, **options)
