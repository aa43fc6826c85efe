"""Example images of a trial: before and after intervention, and the perturbations around its breaking point."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.fft import dctn

from cosweep.analysis.values import Row, format_value, place_text
from cosweep.units import GREY_LEVELS, format_pixels

Pixels = npt.NDArray[np.float64]

_MOST_EXAMPLES = 2
_FLOOR = 1e-2
_LEAST_SHOWN = 0.005 / GREY_LEVELS
"""What is smaller is written as nothing, and so drawn as nothing."""
_MOMENTS = {"before": "delta before CO", "after": "delta after CO", "end": "delta at the end"}


def dct_spectrum(pixels: Pixels) -> Pixels:
    """Magnitudes of the orthonormal DCT-II, mean over channels; (C, H, W) to (H, W), low frequencies first."""
    spectrum: Pixels = np.abs(dctn(pixels, axes=(-2, -1), norm="ortho")).mean(axis=0)
    return spectrum


def trials_with_examples(trials: Sequence[Row], snapshots: Sequence[Row], most: int) -> list[tuple[Row, Sequence[Row]]]:
    """Trials that kept snapshots, each with its own; at most so many, broken ones first, spread over the sweep."""
    kept: dict[str, list[Row]] = {}
    for row in snapshots:
        kept.setdefault(row["trial_id"], []).append(row)
    found = [t for t in trials if t["trial_id"] in kept]
    broken, others = ([t for t in found if bool(t["co"]) is co] for co in (True, False))
    share = max(most - len(others), math.ceil(most * 2 / 3))
    chosen = _spread(broken, share)
    chosen += _spread(others, most - len(chosen))
    return [(trial, kept[trial["trial_id"]]) for trial in chosen]


def _spread(rows: list[Row], count: int) -> list[Row]:
    if len(rows) <= count:
        return rows
    return [rows[round(i * (len(rows) - 1) / max(count - 1, 1))] for i in range(count)]


def examples_title(trial: Row, axes: Sequence[str]) -> str:
    """Which trial it is, where in the space, and how it ended."""
    place = place_text(axes, [trial.get(axis) for axis in axes])
    return ", ".join(filter(None, (f"trial {trial['trial_id']}", place, trial["state"])))


def examples_figure(trial: Row, snapshots: Sequence[Row], title: str) -> Figure | None:
    """Images of one trial above their DCT spectra: original, intervened, added, perturbations; None without any.

    Added is intervened minus original: for ``inject`` the carrier at its strength.

    Args:
        trial: Row of ``trials``.
        snapshots: Its rows of ``snapshots``.
        title: Of the figure.
    """
    examples: dict[int, list[Row]] = {}
    for row in snapshots:
        examples.setdefault(row["example"], []).append(row)
    shown = [sorted(rows, key=lambda r: int(r["step"])) for _, rows in sorted(examples.items())][:_MOST_EXAMPLES]
    if not shown:
        return None
    columns = 3 + max(map(len, shown))
    figure = Figure(figsize=(1.7 * columns, 3.6 * len(shown) + 0.5), layout="constrained", dpi=100)
    panels = figure.subplots(2 * len(shown), columns, squeeze=False)
    for number, rows in enumerate(shown):
        _draw_example(panels[2 * number], panels[2 * number + 1], rows)
    epsilon = format_value("epsilon", trial["epsilon"])
    figure.suptitle(f"{title}\nperturbations: FGSM at epsilon {epsilon}; below each image |DCT|, log scale", fontsize=9)
    return figure


def _draw_example(images: Sequence[Axes], spectra: Sequence[Axes], rows: Sequence[Row]) -> None:
    original, intervened = (_pixels(rows[0], name) for name in ("original", "intervened"))
    low, high = min(0.0, float(intervened.min())), max(1.0, float(intervened.max()))
    drawn = [
        (f"image {rows[0]['example']}, class {rows[0]['label']}", original, (0.0, 1.0)),
        (f"intervened\nblack {low:.2g}, white {high:.2g}", intervened, (low, high)),
        ("added", intervened - original, None),
        *((f"{_MOMENTS[row['moment']]}\nstep {row['step']}", _pixels(row, "delta"), None) for row in rows),
    ]
    for panel, below, (name, pixels, ends) in zip(images, spectra, drawn, strict=False):
        most = float(np.abs(pixels).max())
        reach = format_pixels(most)
        bottom, top = ends or (-max(most, _LEAST_SHOWN), max(most, _LEAST_SHOWN))
        panel.imshow(_shown((pixels - bottom) / (top - bottom)), cmap="gray", vmin=0, vmax=1)
        panel.set_title(name if ends else f"{name}\n{'nothing' if reach == '0' else f'±{reach}'}", fontsize=7)
        below.imshow(np.log10(dct_spectrum(pixels) + _FLOOR), cmap="cividis", vmin=math.log10(_FLOOR), vmax=1)
    for panel in (*images, *spectra):
        panel.set_xticks([])
        panel.set_yticks([])
    for panel in (*images[len(drawn) :], *spectra[len(drawn) :]):
        panel.remove()


def _pixels(row: Row, name: str) -> Pixels:
    return np.asarray(row[name], dtype=np.float64).reshape(row["shape"])


def _shown(pixels: Pixels) -> Pixels:
    """(H, W), or (H, W, 3) for three channels, from (C, H, W) in [0, 1]."""
    shown: Pixels = pixels.transpose(1, 2, 0) if len(pixels) == 3 else pixels.mean(axis=0)
    return np.clip(shown, 0, 1)
