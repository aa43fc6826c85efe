"""AutoAttack: known answers on linear models, ball and box, and what it leaves alone."""

from __future__ import annotations

import importlib.util
from functools import cache

import pytest
import torch
from pyautoattack import square
from torch import Tensor, nn
from torch.nn import functional

from cosweep.attacks import Norm, ThreatModel, autoattack, correct, lengths, withstands_pgd
from cosweep.attacks.autoattack import check_images, check_installed, withstands_autoattack
from cosweep.errors import CosweepError
from cosweep.seeding import RandomStream
from cosweep.units import Box
from tests.tiny import UNIT_BOX, batch, convolutional_model, digits, linear_model, smooth_model, weights_of

WIDE_BOX = Box(-9.0, 9.0)


def withstands(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    epsilon: float,
    *,
    norm: Norm = "linf",
    box: Box = UNIT_BOX,
    seed: int = 0,
    classes: int = 10,
) -> Tensor:
    reach = box if box.pulls else Box(min(box.low, x.min().item()), max(box.high, x.max().item()))
    return withstands_autoattack(
        model, x, y, ThreatModel(epsilon, box, norm), num_classes=classes, reach=reach, seed=seed
    )


def own_labels(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(x)
    return logits.argmax(dim=1)


# --- known answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.02), ("linf", 0.05), ("l2", 0.15), ("l2", 0.4)])
@pytest.mark.usefixtures("few_queries")
def test_an_example_of_a_linear_model_breaks_where_its_distance_to_a_boundary_says(
    classes: int, norm: Norm, epsilon: float
) -> None:
    """The nearest of the boundaries to other classes; the length of the weights is in the dual norm.

    With three classes the cross-entropy alone often makes for the farther boundary, as PGD does.
    """
    model, (x, _) = linear_model(classes=classes), batch(40)
    y = own_labels(model, x)
    weight = dict(model.named_parameters())["1.weight"].detach()
    with torch.no_grad():
        logits = model(x)
    margins = logits.gather(1, y[:, None]) - logits
    slopes = torch.linalg.vector_norm(weight[y][:, None] - weight[None], ord=1 if norm == "linf" else 2, dim=2)
    distance = (margins / slopes).where(slopes > 0, torch.inf).amin(dim=1)
    clear = (distance / epsilon - 1).abs() > 0.03
    standing = withstands(model, x, y, epsilon, norm=norm, box=WIDE_BOX, classes=classes)
    assert torch.equal(standing[clear], (distance > epsilon)[clear])
    assert clear.sum() >= 36
    assert 0 < standing.sum() < 40


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_nothing_breaks_at_epsilon_zero_but_what_is_wrong_already(norm: Norm) -> None:
    model, (x, y) = smooth_model(), batch(30)
    y[:20] = own_labels(model, x[:20])
    standing = withstands(model, x, y, 0.0, norm=norm)
    assert torch.equal(standing, correct(model, x, y))
    assert 20 <= standing.sum() < 30


def test_a_batch_of_which_all_are_wrong_has_no_survivor() -> None:
    model, (x, _) = linear_model(), batch(5)
    assert not withstands(model, x, (own_labels(model, x) + 1) % 10, 0.1).any()


def test_all_break_in_a_ball_as_large_as_the_box() -> None:
    model, (x, _) = linear_model(), batch(10)
    assert not withstands(model, x, own_labels(model, x), 1.0).any()


class OneStands(nn.Module):
    """Only images with a bright first pixel stand."""

    def forward(self, x: Tensor) -> Tensor:
        margin = torch.where(x[:, 0, 0, :1] > 0.8, 9.0, 0.1 - (x[:, 0, 0, 1:2] - 0.5))
        return torch.cat([margin, torch.zeros_like(margin)], dim=1)


@pytest.mark.usefixtures("few_queries")
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_single_survivor_is_found_among_many(norm: Norm) -> None:
    x = torch.full((7, 1, 8, 8), 0.5)
    x[3, 0, 0, 0] = 1.0
    standing = withstands(OneStands(), x, torch.zeros(7, dtype=torch.int64), 0.15, norm=norm, classes=2)
    assert standing.tolist() == [False, False, False, True, False, False, False]


# --- strength --------------------------------------------------------------------------------------------------------


@cache
def trained_on_digits() -> nn.Sequential:
    """A small network that labels most of the digits right."""
    model = convolutional_model()
    x, y = torch.tensor(digits(256).x_train / 16, dtype=torch.float32), torch.tensor(digits(256).y_train)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


@pytest.mark.usefixtures("few_queries")
@pytest.mark.parametrize(("norm", "radius", "box"), [("linf", 0.1, Box(-0.2, 1.1)), ("l2", 0.6, Box(0.0, 0.5))])
def test_no_example_that_pgd_breaks_stands_on_a_trained_model(norm: Norm, radius: float, box: Box) -> None:
    model = trained_on_digits()
    x, y = torch.tensor(digits().x_test[:20] / 16, dtype=torch.float32), torch.tensor(digits().y_test[:20])
    standing = withstands(model, x, y, radius, norm=norm, box=box)
    against_pgd = withstands_pgd(
        model,
        x,
        y,
        ThreatModel(radius, box, norm),
        alpha=radius / 4,
        steps=10,
        restarts=1,
        rng=RandomStream(0),
    )
    assert not (standing & ~against_pgd).any()
    assert 2 < standing.sum() <= against_pgd.sum() < correct(model, x, y).sum()


class Masked(nn.Module):
    """A linear two-class model whose gradient is zero: only queries find the way."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = linear_model(classes=2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.detach())
        return logits + 0 * x.flatten(1)[:, :2]


@pytest.mark.usefixtures("few_queries")
@pytest.mark.parametrize("classes", [2, 10])
def test_a_confident_model_gains_nothing_from_gradients_that_round_to_zero(classes: int) -> None:
    """With two classes the authors' attacks have the cross-entropy and a few queries alone."""
    plain = linear_model(classes=classes)
    x, _ = batch(40, classes=classes)
    y = own_labels(plain, x)
    steep = nn.Sequential(*plain, Scale(1e5))
    expected = withstands(plain, x, y, 0.02, box=WIDE_BOX, classes=classes)
    assert torch.equal(withstands(steep, x, y, 0.02, box=WIDE_BOX, classes=classes), expected)
    assert 0 < expected.sum() < 40


class Scale(nn.Module):
    """Logits times a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def test_square_breaks_what_gradients_do_not() -> None:
    model, (x, _) = Masked(), batch(8, classes=2)
    y = own_labels(model, x)
    start = RandomStream(2)  # at which all are right: without a gradient PGD stays at its start
    against_pgd = withstands_pgd(model, x, y, ThreatModel(0.3, UNIT_BOX), alpha=0.075, steps=10, restarts=1, rng=start)
    assert against_pgd.sum() == 8
    assert withstands(model, x, y, 0.3, classes=2).sum() < 4


# --- ball and box ----------------------------------------------------------------------------------------------------


class Recorded(nn.Module):
    """Records how far all images that it is asked about leave their originals, and the range they reach."""

    def __init__(self, model: nn.Module, x: Tensor, norm: Norm) -> None:
        super().__init__()
        self.model, self.x, self.norm = model, x, norm
        self.farthest, self.low, self.high = 0.0, float("inf"), -float("inf")

    def forward(self, x: Tensor) -> Tensor:
        apart = (x.detach()[:, None] - self.x[None]).flatten(2)
        distance = torch.linalg.vector_norm(apart, ord=torch.inf if self.norm == "linf" else 2, dim=2)
        self.farthest = max(self.farthest, distance.amin(dim=1).max().item())
        self.low, self.high = min(self.low, x.min().item()), max(self.high, x.max().item())
        logits: Tensor = self.model(x)
        return logits


@pytest.mark.usefixtures("few_queries")
@pytest.mark.parametrize(
    ("box", "low", "high"),
    [(UNIT_BOX, 0.0, 1.0), (Box(-0.5, 1.5), -0.5, 1.5), (Box(0.25, 0.75), 0.25, 0.75), (Box(-0.1, 3.0), 0.0, 1.0)],
)
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 0.8)])
def test_perturbed_images_fill_the_ball_and_stay_in_the_box(
    box: Box, low: float, high: float, norm: Norm, epsilon: float
) -> None:
    """The package knows images in [0, 1] alone, so images and epsilon are on another scale there."""
    x, _ = batch(12)
    x = x * (high - low) + low
    y = own_labels(smooth_model(), x)
    seen = Recorded(smooth_model(), x, norm)
    withstands(seen, x, y, epsilon, norm=norm, box=box)
    assert 0.95 * epsilon < seen.farthest <= epsilon + 1e-5
    assert seen.low >= box.low - 1e-6
    assert seen.high <= box.high + 1e-6
    if box.high < 3:
        assert (seen.low, seen.high) == pytest.approx((box.low, box.high), abs=1e-6)


@pytest.mark.usefixtures("few_queries")
@pytest.mark.parametrize("box", [Box(0.0, 1.0), Box(0.0, 1.0, pulls=True), Box(0.3, 0.6), Box(0.3, 0.6, pulls=True)])
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 0.8)])
def test_images_outside_the_box_are_judged_no_further_out_or_inside_if_it_pulls(
    box: Box, norm: Norm, epsilon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[Tensor] = []

    def recorded(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        judged.append(x)
        return correct(model, x, y)

    monkeypatch.setattr(autoattack, "correct", recorded)
    x, _ = batch(12)
    x, model = x * 1.5 - 0.3, smooth_model(classes=3)
    withstands(model, x, own_labels(model, x), epsilon, norm=norm, box=box, classes=3)
    assert torch.equal(judged[0], x)  # clean accuracy is that of the images as they are
    attacked = judged[1]
    low, high = (x, x) if not box.pulls else (torch.tensor(box.low), torch.tensor(box.high))
    assert (attacked >= low.clamp(max=box.low) - 1e-6).all()
    assert (attacked <= high.clamp(min=box.high) + 1e-6).all()
    if not box.pulls:
        distance = lengths(attacked - x) if norm == "l2" else (attacked - x).abs()
        assert 0.5 * epsilon < distance.max() <= epsilon + 1e-5


# --- what it leaves alone --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_queries")
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_outcome_depends_on_the_seed_alone_and_no_generator_is_touched(norm: Norm) -> None:
    model, (x, _) = smooth_model(classes=3), batch(10)
    y, states = own_labels(model, x), weights_of(model)
    images, labels = x.clone(), y.clone()
    found = []
    for draws in (0, 3):
        torch.rand(draws)
        before = torch.get_rng_state()
        found.append(withstands(model, x, y, 0.003 if norm == "linf" else 0.02, norm=norm, classes=3, seed=2**40 + 1))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*found)
    assert 0 < found[0].sum() < 10
    assert torch.equal(x, images)
    assert torch.equal(y, labels)
    assert all(torch.equal(value, states[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_images_seen_do_depend_on_the_seed() -> None:
    model, (x, _) = smooth_model(), batch(4)
    y, queries = own_labels(model, x), []
    for seed in (1, 1, 2):
        asked: list[Tensor] = []
        hook = model.register_forward_pre_hook(lambda _, inputs, asked=asked: asked.append(inputs[0].detach().clone()))
        withstands(model, x, y, 0.3, seed=seed)
        hook.remove()
        queries.append(asked[2])
    assert torch.equal(queries[0], queries[1])
    assert not torch.equal(queries[0], queries[2])


# --- where it cannot run ---------------------------------------------------------------------------------------------


def test_a_missing_package_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = r"^attack autoattack needs the package pyautoattack; pip install pyautoattack$"
    with pytest.raises(CosweepError, match=message):
        check_installed()
    with pytest.raises(CosweepError, match=message):
        withstands(linear_model(), *batch(2), 0.1)


SIZES = [(side, side) for side in range(1, 34)] + [(8, 5), (5, 12), (12, 20), (20, 12), (32, 24), (24, 32), (10, 11)]


def test_images_refused_in_l2_are_those_on_which_square_fails() -> None:
    refused = []
    for height, width in SIZES:
        attack = square.SquareAttack(linear_model((1, height, width)), "L2", n_queries=3, eps=1e-6, seed=0)
        x, _ = batch(2, (1, height, width))
        with torch.random.fork_rng(devices=[]):
            try:
                attack.perturb(x, own_labels(linear_model((1, height, width)), x))
                failed = False
            except (RuntimeError, ZeroDivisionError):
                failed = True
        check_images("linf", (1, height, width))
        if failed:
            refused.append((height, width))
            with pytest.raises(CosweepError, match=rf"images of {height}x{width}: Square's tiles .*data\.size"):
                check_images("l2", (1, height, width))
        else:
            check_images("l2", (1, height, width))
    assert {(4, 4), (12, 12), (24, 24)} <= set(refused)
    assert not {(8, 8), (28, 28), (32, 32)} & set(refused)
