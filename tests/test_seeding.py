"""The random stream: published outputs, distributions, independence, and the same bits wherever they are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from cosweep.parallel import Workers
from cosweep.seeding import RandomStream, derive_seed, splitmix64
from tests.simulated_device import COPY, DEVICE, LAUNCH, READ, simulated
from tests.tiny import CPU

DTYPES = [torch.float32, torch.float64]
DRAWS = ["uniform", "symmetric", "normal"]


def like(dtype: torch.dtype = torch.float32, device: torch.device = CPU) -> Tensor:
    return torch.empty(0, dtype=dtype, device=device)


def drawn(kind: str, stream: RandomStream, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    found: Tensor = getattr(stream, kind)(shape, like(dtype))
    return found


def splitmix(state: int) -> Iterator[int]:
    """The published C code, in Python's integers."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        yield z ^ (z >> 31)


# --- known answers ---------------------------------------------------------------------------------------------------


def test_the_outputs_for_a_published_seed_are_the_published_ones() -> None:
    published = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip
    assert [output % 2**64 for output in splitmix64(1234567, 5, CPU).tolist()] == published


@pytest.mark.parametrize("state", [0, 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64 + 5, 0x61C8864680B583EB])
def test_any_state_gives_the_outputs_of_unlimited_integers(state: int) -> None:
    found = [output % 2**64 for output in splitmix64(state, 1000, CPU).tolist()]
    assert found == list(islice(splitmix(state % 2**64), 1000))


def test_numbers_are_the_leading_bits_of_the_outputs() -> None:
    """A float32 takes one half of an output, the lower first; each draw begins at an output of its own."""
    outputs = list(islice(splitmix(derive_seed(5, "noise", 3)), 6))
    halves = [half for output in outputs for half in (output % 2**32, output >> 32)]
    signed = [half - 2**32 * (half >= 2**31) for half in halves]
    stream = RandomStream(5, "noise", 3)
    first, second = drawn("uniform", stream, (3,)), drawn("symmetric", stream, (2, 2))
    third = drawn("uniform", stream, (1,), torch.float64)
    assert first.tolist() == [(value >> 8) / 2**24 + 0.5 for value in signed[:3]]
    assert second.flatten().tolist() == [(2 * (value >> 8) + 1) / 2**24 for value in signed[4:8]]
    assert third.item() == ((outputs[4] + 2**63) % 2**64 >> 11) / 2**53


# --- distributions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 24), (torch.float64, 53)])
@pytest.mark.parametrize("seed", range(3))
def test_uniform_numbers_are_uniform_to_the_last_digit(dtype: torch.dtype, digits: int, seed: int) -> None:
    whole = (drawn("uniform", RandomStream(seed), (200_000,), dtype).double() * 2.0**digits).numpy()
    assert np.array_equal(whole, np.floor(whole))
    assert 0 <= whole.min() < whole.max() < 2.0**digits
    assert stats.kstest(whole / 2.0**digits, "uniform").pvalue > 0.001
    for shift in (0, 8, digits - 8):
        counts = np.bincount((whole.astype(np.int64) >> shift) % 256, minlength=256)
        assert stats.chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 24), (torch.float64, 53)])
def test_symmetric_numbers_are_odd_multiples_of_a_power_of_two(dtype: torch.dtype, digits: int) -> None:
    radius = 0.25
    whole = (drawn("symmetric", RandomStream(0), (100_000,), dtype).double() * 2.0**digits).numpy()
    assert (whole.astype(np.int64) % 2 == 1).all()
    assert np.abs(whole).max() < 2.0**digits
    scaled = RandomStream(0).symmetric((100_000,), like(dtype), radius).numpy()
    assert np.array_equal(scaled, whole / 2.0**digits * radius)
    assert stats.kstest(whole / 2.0**digits, "uniform", args=(-1, 2)).pvalue > 0.001


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_numbers_are_normal(dtype: torch.dtype) -> None:
    numbers = drawn("normal", RandomStream(0), (200_000,), dtype)
    assert numbers.isfinite().all()
    assert stats.kstest(numbers.double().numpy(), "norm").pvalue > 0.001
    assert stats.kurtosis(numbers.double().numpy()) == pytest.approx(0, abs=0.05)


def test_the_extreme_outputs_make_finite_normal_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for output in (-(2**63), 2**63 - 1, 0, -1):
        monkeypatch.setattr("cosweep.seeding.splitmix64", lambda state, n, device, o=output: torch.full((n,), o))
        for dtype in DTYPES:
            assert drawn("normal", RandomStream(0), (2,), dtype).isfinite().all()


# --- independence ----------------------------------------------------------------------------------------------------


def correlations(rows: Tensor) -> Tensor:
    """Correlations between rows, in standard deviations of what independent ones show."""
    found: Tensor = torch.corrcoef(rows.double()).fill_diagonal_(0)
    return found * math.sqrt(rows.shape[1])


def test_steps_seeds_rows_and_draws_are_not_correlated() -> None:
    size = 20_000
    steps = torch.stack([drawn("uniform", RandomStream(0, "step", step), (size,)) for step in range(30)])
    seeds = torch.stack([drawn("uniform", RandomStream(seed, "step", 0), (size,)) for seed in range(30)])
    rows = drawn("uniform", RandomStream(0), (30, size))
    stream = RandomStream(0, "draws")
    draws = torch.stack([drawn("uniform", stream, (size,)) for _ in range(30)])
    for numbers in (steps, seeds, rows, draws, rows[:, : size - 1] - rows[:, 1:]):
        assert correlations(numbers).abs().max() < 5
    for lag in (1, 2, 3, 32, 1024, 3072):  # within a draw: neighbours, rows of an image, its channels, images
        flat = rows.flatten()
        assert correlations(torch.stack([flat[lag:], flat[:-lag]])).abs().max() < 4


def test_pairs_of_neighbours_fill_the_square_evenly() -> None:
    pairs = drawn("uniform", RandomStream(0), (200_000, 2))
    cells = (pairs * 32).long()
    counts = np.bincount((cells[:, 0] * 32 + cells[:, 1]).numpy(), minlength=1024)
    assert stats.chisquare(counts).pvalue > 0.001


def test_another_seed_label_or_draw_gives_other_numbers() -> None:
    stream = RandomStream(0, "step", 1)
    others = [RandomStream(0, "step", 2), RandomStream(1, "step", 1), RandomStream(0, "pgd", 1)]
    numbers = [drawn("uniform", one, (8,)) for one in (stream, stream, *others)]
    assert len({tuple(found.tolist()) for found in numbers}) == 5
    assert torch.equal(drawn("uniform", RandomStream(0, "step", 1), (8,)), numbers[0])


# --- where they are drawn --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("total", [1, 2, 7, 64])
@pytest.mark.parametrize("shape", [(), (3,), (1, 3, 3), (2, 8, 8)])
def test_workers_draw_their_rows_of_what_a_lone_one_draws(
    shape: tuple[int, ...], total: int, dtype: torch.dtype
) -> None:
    alone = RandomStream(0, "step", 4)
    rows = [Workers(rank, 3).rows(total) for rank in range(3)]
    parts = [RandomStream(0, "step", 4, first_row=part.start, total_rows=total) for part in rows]
    for kind in (*DRAWS, "symmetric"):
        whole = drawn(kind, alone, (total, *shape), dtype)
        shares = [drawn(kind, one, (part.stop - part.start, *shape), dtype) for one, part in zip(parts, rows)]
        assert torch.equal(torch.cat(shares), whole)
        assert {part.state for part in parts} == {alone.state}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize("shape", [(0,), (0, 3, 8, 8), (4, 0)])
def test_an_empty_shape_takes_no_numbers(shape: tuple[int, ...], kind: str, dtype: torch.dtype) -> None:
    stream = RandomStream(0)
    before = stream.state
    assert drawn(kind, stream, shape, dtype).shape == shape
    assert stream.state == before


@pytest.mark.parametrize("default", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", DRAWS)
def test_the_dtype_is_that_of_the_images_whatever_the_default(
    kind: str, dtype: torch.dtype, default: torch.dtype
) -> None:
    expected = drawn(kind, RandomStream(0), (5,), dtype)
    torch.set_default_dtype(default)
    try:
        found = drawn(kind, RandomStream(0), (5,), dtype)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == dtype
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", DRAWS)
def test_numbers_are_made_on_the_device_of_the_images(kind: str, dtype: torch.dtype) -> None:
    with simulated() as counts:
        there = getattr(RandomStream(0), kind)((4, 3, 8, 8), torch.empty(0, dtype=dtype).to(DEVICE))
        assert there.device == DEVICE
        assert (counts[COPY], counts[READ]) == (1, 0)  # the empty tensor
        assert counts[LAUNCH] <= 20
        assert torch.equal(there.cpu(), drawn(kind, RandomStream(0), (4, 3, 8, 8), dtype))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gpu_draws_the_bits_of_the_cpu(dtype: torch.dtype) -> None:
    there, here = RandomStream(0), RandomStream(0)
    images = like(dtype, torch.device("cuda"))
    for kind in ("uniform", "symmetric"):
        assert torch.equal(
            getattr(there, kind)((64, 3, 32, 32), images).cpu(), drawn(kind, here, (64, 3, 32, 32), dtype)
        )
    normal = there.normal((64, 3, 32, 32), images).cpu()
    torch.testing.assert_close(normal, drawn("normal", here, (64, 3, 32, 32), dtype), rtol=1e-5, atol=1e-6)
