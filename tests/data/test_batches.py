"""Batches: seeded order, augmentation, interventions, and the box that attacks keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
import torch

from cosweep.data import Dataset, Intervention
from cosweep.data.batches import DeviceData
from cosweep.data.injections import Inject, InjectOrthogonal
from cosweep.data.sources import Digits
from cosweep.units import Box
from tests.tiny import CPU, digits, random_dataset

Augment = Literal["none", "flip", "crop", "crop_flip"]
AUGMENTS: list[Augment] = ["none", "flip", "crop", "crop_flip"]


def device_data(
    dataset: Dataset,
    interventions: Sequence[Intervention] = (),
    augment: Augment = "none",
    seed: int = 0,
    box: tuple[float, float] | None = None,
) -> DeviceData:
    return DeviceData(dataset, Digits(augment=augment, box=box), interventions, seed, CPU)


def constant_dataset(level: int) -> Dataset:
    x, y = np.full((30, 1, 8, 8), level, dtype=np.uint8), np.arange(30) % 10
    return Dataset(x, y, x[:10], y[:10], num_classes=10)


def test_images_are_scaled_by_the_value_of_white() -> None:
    data = device_data(digits())
    assert (data.x_train.min().item(), data.x_train.max().item()) == (0.0, 1.0)
    assert np.array_equal((data.x_train * 16).numpy(), digits().x_train)


def test_statistics_are_those_of_the_training_images_before_intervention() -> None:
    dataset = random_dataset(shape=(3, 8, 8))
    data = device_data(dataset, [Inject(beta=0.5)])
    pixels = dataset.x_train.astype(np.float64) / 255
    np.testing.assert_allclose(data.mean.numpy(), pixels.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(data.std.numpy(), pixels.std(axis=(0, 2, 3)), rtol=1e-3)


def test_a_constant_channel_has_a_deviation_that_can_be_divided_by() -> None:
    assert device_data(constant_dataset(128)).std.item() > 0


def test_an_epoch_visits_every_example_once_in_an_order_of_its_own() -> None:
    data = device_data(random_dataset())
    orders = [data.epoch_order(epoch) for epoch in (0, 1, 0)]
    assert torch.equal(orders[0].sort().values, torch.arange(30))
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])


def test_order_depends_on_the_seed() -> None:
    one, same, other = (device_data(random_dataset(), seed=seed).epoch_order(0) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("augment", AUGMENTS)
def test_a_batch_is_the_same_whenever_it_is_drawn(augment: Augment) -> None:
    data = device_data(random_dataset(), [Inject(beta=0.1)], augment)
    index = data.epoch_order(0)[:8]
    first, y = data.train_batch(index, step=3)
    data.train_batch(index, step=4)
    again, _ = data.train_batch(index, step=3)
    assert torch.equal(first, again)
    assert torch.equal(y, data.y_train[index])


@pytest.mark.parametrize("augment", ["flip", "crop", "crop_flip"])
def test_augmentation_differs_from_step_to_step_and_with_the_seed(augment: Augment) -> None:
    index = torch.arange(30)
    drawn = [
        device_data(random_dataset(), augment=augment, seed=seed).train_batch(index, step)[0]
        for seed, step in ((0, 0), (0, 1), (1, 0))
    ]
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("augment", AUGMENTS)
def test_drawing_a_batch_leaves_the_images_as_they_were(augment: Augment) -> None:
    data = device_data(random_dataset(), [InjectOrthogonal(beta=0.1)], augment)
    before = data.x_train.clone()
    data.train_batch(torch.arange(8), step=0)
    assert torch.equal(data.x_train, before)


def test_without_augmentation_a_batch_is_the_images_themselves() -> None:
    data = device_data(random_dataset())
    x, _ = data.train_batch(torch.tensor([3, 1]), step=0)
    assert torch.equal(x, data.x_train[[3, 1]])


def test_flips_mirror_about_half_of_the_images_and_change_nothing_else() -> None:
    data = device_data(random_dataset(train=200), augment="flip")
    x, _ = data.train_batch(torch.arange(200), step=0)
    as_they_were = (x == data.x_train).flatten(1).all(dim=1)
    mirrored = (x == data.x_train.flip(-1)).flatten(1).all(dim=1)
    assert (as_they_were ^ mirrored).all()
    assert 70 < mirrored.sum() < 130


@pytest.mark.parametrize("augment", ["crop", "crop_flip"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 12)])
def test_crops_shift_by_at_most_four_pixels_and_pad_with_zeros(shape: tuple[int, int, int], augment: Augment) -> None:
    data = device_data(random_dataset(train=60, shape=shape), augment=augment)
    x, _ = data.train_batch(torch.arange(60), step=0)
    assert x.shape == data.x_train.shape
    padded = torch.nn.functional.pad(data.x_train, (4, 4, 4, 4))
    _, height, width = shape
    shifts = set()
    for crop, image in zip(x, padded, strict=True):
        found = {
            (top, left)
            for source in ((image, image.flip(-1)) if augment == "crop_flip" else (image,))
            for top in range(9)
            for left in range(9)
            if torch.equal(crop, source[:, top : top + height, left : left + width])
        }
        assert found, "no shift of the image or of its mirror image gives this crop"
        shifts |= found
    assert len(shifts) > 20


def test_held_out_subset_is_the_same_for_every_seed_and_nested() -> None:
    one, other = (device_data(random_dataset(), seed=seed) for seed in (1, 2))
    x, y = one.test_subset(8)
    assert torch.equal(x, other.test_subset(8)[0])
    assert torch.equal(x[:3], one.test_subset(3)[0])
    assert torch.equal(y[:3], one.test_subset(3)[1])
    assert len(one.test_subset(1000)[1]) == 20


def test_held_out_images_carry_the_intervention_and_no_augmentation() -> None:
    plain = device_data(random_dataset(), augment="crop_flip").test_subset(20)
    data = device_data(random_dataset(), [Inject(beta=0.1)], "crop_flip")
    x, y = data.test_subset(20)
    assert torch.equal(y, plain[1])
    torch.testing.assert_close(x, data.intervene(plain[0], y, data.test_index(20)))
    torch.testing.assert_close((x - plain[0]).abs(), torch.full_like(x, 0.1), atol=1e-6, rtol=0)


def test_interventions_act_in_the_order_given() -> None:
    dataset = random_dataset()
    both = device_data(dataset, [Inject(beta=0.2), InjectOrthogonal(beta=0.1)])
    alone = device_data(dataset, [InjectOrthogonal(beta=0.1)])
    x, _ = both.test_subset(5)  # the second takes out of the image what the first put in
    torch.testing.assert_close(x, alone.test_subset(5)[0], atol=1e-5, rtol=0)


def test_box_of_plain_images_is_zero_to_one() -> None:
    assert device_data(constant_dataset(128)).box == Box(0.0, 1.0)


def test_box_widens_to_what_an_injection_reaches() -> None:
    """A box of [0, 1] would pull injected images back under attack, and only then."""
    box = device_data(digits(), [Inject(beta=0.25)]).box
    assert box.low == pytest.approx(-0.25)
    assert box.high == pytest.approx(1.25)


def test_a_given_box_is_taken_as_it_is() -> None:
    assert device_data(digits(), [Inject(beta=0.25)], box=(0, 1)).box == Box(0, 1)
    assert device_data(digits(), box=(-0.5, 1.5)).box == Box(-0.5, 1.5)


@pytest.mark.parametrize("level", [None, 64, 128, 192])
@pytest.mark.parametrize(
    ("kind", "augment"), [*((Inject, a) for a in AUGMENTS), (InjectOrthogonal, "none"), (InjectOrthogonal, "flip")]
)
def test_every_training_image_lies_in_the_box(kind: type[Inject], augment: Augment, level: int | None) -> None:
    """Not with crops and a projection: what it makes of every shift is not measured, and ``clip_box`` allows for it."""
    dataset = random_dataset(train=100) if level is None else constant_dataset(level)
    data = device_data(dataset, [kind(beta=0.2)], augment)
    for step in range(5):
        x, _ = data.train_batch(data.epoch_order(step), step)
        assert x.min() >= data.box.low - 1e-6
        assert x.max() <= data.box.high + 1e-6
    x, _ = data.test_subset(100)
    assert x.min() >= data.box.low - 1e-6
    assert x.max() <= data.box.high + 1e-6
