"""What answers say of P(CO) elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from cosweep.search import Answer, Axis, Belief, Point

X = Axis("interventions.0.beta", "uniform", (0.0, 1.0))
SEEDS = Axis("seed", "int", (0, 99))
METHOD = Axis("method.name", "grid", ("fgsm", "n_fgsm"))


def p_co(axes: Sequence[Axis], told: Sequence[tuple[Point, bool]], points: Sequence[Point]) -> list[float]:
    return Belief(axes, [Answer(point, co) for point, co in told]).p_co(points)


def at(x: float, seed: int = 0, method: str = "fgsm") -> dict[str, object]:
    return {X.path: x, SEEDS.path: seed, METHOD.path: method}


AXES = (X, METHOD, SEEDS)


def test_where_nothing_is_known_both_are_as_likely() -> None:
    assert p_co(AXES, [], [at(0.3), at(0.9)]) == [0.5, 0.5]
    assert p_co(AXES, [(at(0.0), True)], []) == []


def test_many_seeds_of_one_place_give_its_share() -> None:
    answers = [(at(0.5, seed), seed < 30) for seed in range(100)]
    assert p_co(AXES, answers, [at(0.5, 1234)])[0] == pytest.approx(0.3, abs=0.03)
    few = p_co(AXES, answers[28:32], [at(0.5)])[0]
    assert 0.4 < few < 0.6


def test_a_band_is_seen_from_both_sides() -> None:
    answers = [(at(i / 20, seed), 0.3 <= i / 20 <= 0.7) for i in range(21) for seed in range(3)]
    low, inside, high = p_co(AXES, answers, [at(0.05), at(0.5), at(0.95)])
    assert low < 0.15
    assert inside > 0.85
    assert high < 0.15


def test_a_method_without_answers_shares_a_little_of_what_the_others_showed() -> None:
    answers = [(at(0.5, seed), True) for seed in range(20)]
    same, other = p_co(AXES, answers, [at(0.5), at(0.5, method="n_fgsm")])
    assert same > 0.85
    assert 0.5 < other < same


def test_far_from_all_answers_little_is_known() -> None:
    answers = [(at(0.0, seed), True) for seed in range(20)]
    near, far = p_co(AXES, answers, [at(0.05), at(1.0)])
    assert near > 0.85
    assert far == pytest.approx(0.5, abs=0.01)


def test_the_seed_says_nothing() -> None:
    answers = [(at(0.2, seed), seed % 2 == 0) for seed in range(10)]
    assert p_co((SEEDS,), [({"seed": s}, c) for s, c in ((0, True), (1, False))], [{"seed": 0}]) == [0.5]
    even, odd = p_co(AXES, answers, [at(0.2, 100), at(0.2, 101)])
    assert even == odd


def test_fractions_of_grey_levels_are_numbers() -> None:
    axis = Axis("method.epsilon", "grid", ("8/255", "16/255", 64 / 255))
    answers: list[tuple[dict[str, object], bool]] = [({axis.path: "8/255"}, False), ({axis.path: 64 / 255}, True)]
    low, high = p_co((axis,), answers, [{axis.path: 8 / 255}, {axis.path: "64/255"}])
    assert low < 0.5 < high


def test_when_training_breaks_says_how_far_the_line_is() -> None:
    def told(share: float) -> float:
        answers = [Answer(at(0.0, seed), True, round(1000 * share), 1000) for seed in range(3)]
        answers += [Answer(at(1.0, seed), False, None, 1000) for seed in range(3)]
        return Belief(AXES, answers).p_co([at(0.55)])[0]

    assert told(0.1) > told(0.8) + 0.03


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_a_time_to_the_breaking_point_with_noise_is_found_again(noise: float) -> None:
    """Times are log-normal around 2.5 (x - 0.4); what is beyond the training's end is censored."""
    rng = np.random.default_rng(0)
    answers = []
    for seed in range(200):
        x = float(rng.uniform())
        time = 2.5 * (x - 0.4) + noise * float(rng.normal())
        answers.append(Answer(at(x, seed), time < 0, round(1e6 * math.exp(time)) if time < 0 else None, 10**6))
    belief = Belief(AXES, answers)
    places = [at(x) for x in (0.1, 0.2, 0.3, 0.4)]
    mean, variance = belief.latent(places)
    assert mean == pytest.approx([-0.75, -0.5, -0.25, 0.0], abs=0.1)
    assert (variance**0.5).max() < 0.1
    assert belief.smoothness.noise == pytest.approx(noise, rel=0.6)


def test_hundreds_of_answers_close_together_do_not_upset_it() -> None:
    answers = [Answer(at(0.5 + seed / 10000, seed), seed % 4 == 0) for seed in range(300)]
    assert Belief(AXES, answers).p_co([at(0.515)])[0] == pytest.approx(0.25, abs=0.03)


def test_of_too_many_answers_a_sample_is_used() -> None:
    answers = [Answer(at(i / 4000, i), i < 2000) for i in range(4000)]
    below, above = Belief(AXES, answers).p_co([at(0.4), at(0.6)])
    assert below > 0.95
    assert above < 0.05
