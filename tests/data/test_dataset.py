"""Arrays of a user's own: what cannot be trained on is refused before torch sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cosweep.data import Dataset
from cosweep.errors import CosweepError
from cosweep.training import run_trial
from tests.tiny import random_dataset, tiny_spec

GOOD = random_dataset(shape=(3, 8, 8))
X, Y = GOOD.x_train, GOOD.y_train


def changed(**changes: Any) -> Dataset:
    return Dataset(**{**vars(GOOD), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": X / 255}, r"x_train holds float64; expected uint8 .*\(x \* 255\)\.round\(\)\.astype"),
        ({"x_test": X.astype(np.float32)}, "x_test holds float32; expected uint8"),
        ({"x_train": torch.tensor(X)}, "x_train is a Tensor; expected a numpy array"),
        ({"x_train": X.transpose(0, 2, 3, 1)}, r"x_train has shape \(30, 8, 8, 3\); .*x\.transpose\(0, 3, 1, 2\)"),
        ({"x_train": X[:, 0]}, r"x_train has shape \(30, 8, 8\); expected \(N, C, H, W\)"),
        ({"x_test": X[:0]}, r"x_test has shape \(0, 3, 8, 8\); expected"),
        ({"max_value": 16}, r"x_train has a pixel of 255; expected at most max_value, 16"),
        ({"max_value": 1.0}, "max_value is 1.0; expected the value of a white pixel, from 1 to 255"),
        ({"y_train": Y.astype(np.int32)}, r"y_train holds int32; expected int64: y\.astype"),
        ({"y_train": Y.tolist()}, "y_train is a list; expected a numpy array"),
        ({"y_train": Y + 1}, "y_train goes from 1 to 10; expected labels from 0 to num_classes - 1, 9"),
        ({"y_test": Y - 1}, "y_test goes from -1 to 8; expected labels from 0"),
        ({"y_train": Y[:, None]}, r"y_train has shape \(30, 1\); expected \(N,\)"),
        ({"y_train": Y[:29]}, "x_train has 30 images and y_train 29 labels"),
        (
            {"x_train": X[..., :7]},
            r"train images are \(C, H, W\) \(3, 8, 7\), test images \(3, 8, 8\); they must agree",
        ),
        ({"num_classes": 1}, "num_classes is 1; expected a whole number of at least 2"),
        ({"num_classes": 10.0}, r"num_classes is 10\.0; expected a whole number"),
    ],
)
def test_arrays_that_cannot_be_trained_on_are_named_with_the_remedy(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CosweepError, match=message):
        changed(**changes)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(CosweepError, match=r"x_train holds float64.*y_train holds int32.*y_test goes from 1 to 10"):
        changed(x_train=X / 255, y_train=Y.astype(np.int32), y_test=Y + 1)


def test_a_trial_takes_a_data_set_of_a_users_own_and_nothing_else() -> None:
    assert next(iter(run_trial(tiny_spec(), dataset=random_dataset(train=256)))).step == 3
    with pytest.raises(CosweepError, match=r"dataset is a tuple; expected a cosweep\.data\.Dataset"):
        run_trial(tiny_spec(), dataset=(X, Y))  # type: ignore[arg-type]
