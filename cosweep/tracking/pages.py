"""What MLflow shows of a whole sweep: the description of its parent run, and saved views of its trials.

A saved view is a tag of the experiment that MLflow's page reads and lists under "Views": columns, order, charts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from cosweep.analysis.findings import Findings, asked_question, definition_text
from cosweep.analysis.values import PIXEL_COLUMNS
from cosweep.tracking.entries import IN_DEFINITION_TAG, STATE_TAG, TRIAL_TAG, fenced, literal, milliseconds
from cosweep.wording import at_root, counted

VIEW_TAG = "mlflow.sharedViewState."
_TABLE, _CHARTS = "trials", "charts"
_ACCURACIES = ("clean_acc", "fgsm_acc", "pgd_acc")
_AS_MEASURED = {"lineSmoothness": 0, "useGlobalLineSmoothing": False, "displayPoints": False}
_MOST_SOURCE = 5000
_WORKFLOW = "machine_learning"
FILTERS = """\
Filters for the search box of the list of runs:

| shows | filter |
|---|---|
| trials that broke | `tags.state = 'co'` |
| those that broke early | `metrics.co_step < 200` |
| one radius | `tags.epsilon = '64/255'` |
| one seed | `params.seed = '0'` |
| failed trials | `attributes.status = 'FAILED'` |
| earlier results that are not part of the definition | `tags.in_definition = 'false'` |
"""


def home_link(server: str) -> str:
    """Address of the list of experiments."""
    return f"{server.rstrip('/')}/#/experiments?{urlencode({'workflowType': _WORKFLOW})}"


def sweep_links(server: str, experiment_id: str, parent_id: str | None) -> dict[str, str]:
    """Addresses of a sweep's saved views and report; without a parent run, nothing was logged and there are none."""
    runs = f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs"
    if parent_id is None:
        return {"trials": f"{runs}?{urlencode({'workflowType': _WORKFLOW})}"}
    table = urlencode({"viewStateShareKey": _TABLE, "workflowType": _WORKFLOW})
    charts = urlencode({"viewStateShareKey": _CHARTS, "compareRunsMode": "CHART", "workflowType": _WORKFLOW})
    report = urlencode({"workflowType": _WORKFLOW})
    return {
        "trials": f"{runs}?{table}",
        "charts": f"{runs}?{charts}",
        "report": f"{runs}/{parent_id}/artifacts/report.html?{report}",
    }


def saved_views(axes: Sequence[str], created: int) -> dict[str, str]:
    """Tags of the experiment: its table of trials, and charts of where training breaks.

    Args:
        axes: Columns that the sweep varies.
        created: When the experiment was, milliseconds since 1970.
    """
    views = {_TABLE: ("Trials", _table_view(axes)), _CHARTS: ("Charts", _charts_view(axes))}
    # Without the parent, below which MLflow would fold them.
    trials = {"searchFilter": f"tags.{IN_DEFINITION_TAG} = 'true'", "orderByAsc": True}
    return {
        VIEW_TAG + key: json.dumps(
            {"name": name, "createdAt": created, "updatedAt": created, "state": json.dumps(trials | view)}
        )
        for key, (name, view) in views.items()
    }


def experiment_note(record: dict[str, Any]) -> str:
    """Markdown for the experiment."""
    return "\n\n".join(filter(None, [literal(asked_question(record)), FILTERS]))


@dataclass(frozen=True)
class Summary:
    """What the parent run says of a sweep that no driver works on.

    Attributes:
        numbers: Its metrics.
        found: The same in words.
        progress: Such as ``17 of 24``.
        status: MLflow's: KILLED if trials are missing, FAILED if all failed.
        ended: When the last trial did, milliseconds since 1970.
    """

    numbers: dict[str, float]
    found: str
    progress: str
    status: str
    ended: int

    @classmethod
    def of(cls, report: Findings) -> Summary:
        """Summary of a report."""
        now = datetime.now(UTC)
        all_failed = report.rows and len(report.failed) == len(report.rows)
        # The children have a metric co of 0 or 1, and charts scale a metric over all runs.
        numbers = {"co_trials" if name == "co" else name: value for name, value in report.summary().items()}
        return cls(
            numbers=numbers,
            found=_found(numbers) + (f" Partial: {report.partial}." if report.partial else ""),
            progress=f"{len(report.rows)} of {report.asked}",
            status="KILLED" if report.partial else "FAILED" if all_failed else "FINISHED",
            ended=milliseconds(max((row["finished_at"] for row in report.rows), default=now)),
        )


def sweep_note(record: dict[str, Any], where: str, found: str) -> str:
    """Markdown for the parent run.

    Args:
        record: The definition, as kept by ``Store.write_sweep``.
        where: Location of the results.
        found: What was found, in words; empty while nothing is known.
    """
    command, source = record.get("command"), definition_text(record)
    name = record["name"]
    query = at_root(f"cosweep query \"SELECT * FROM trials WHERE sweep = '{name}'\"", where)
    parts = [
        f"**{literal(asked)}**" if (asked := asked_question(record)) else "",
        found,
        f"Varied: {', '.join(record['axes'])}. " + (f"Run again, or carry on: `{command}`" if command else ""),
        f"Findings, figures and tables are under Artifacts, and in `{where}/reports/{name}`; every number: `{query}`",
        FILTERS,
        fenced(source.strip(), "yaml") if source and len(source) < _MOST_SOURCE else "",
    ]
    return "\n\n".join(filter(None, parts))


def _found(numbers: Mapping[str, float]) -> str:
    text = f"{numbers['co_trials']:.0f} of {counted(int(numbers['trials']), 'trial')} broke"
    if "p_co" in numbers:
        text += (
            f": P(CO) {numbers['p_co']:.2f}, between {numbers['p_co_low']:.2f} and {numbers['p_co_high']:.2f} (95 %)"
        )
    if "median_co_step" in numbers:
        text += f"; median breaking point: step {numbers['median_co_step']:.0f}"
    return f"{text}. {numbers['failed']:.0f} failed." if numbers["failed"] else f"{text}."


def _table_view(axes: Sequence[str]) -> dict[str, Any]:
    """Outcomes, then the axes; the earliest breaking points first."""
    columns = [
        f"tags.`{STATE_TAG}`",
        *(f"metrics.`{name}`" for name in ("co_step", *_ACCURACIES, "robust_acc")),
        *(f"tags.`{axis}`" if axis in PIXEL_COLUMNS else f"params.`{axis}`" for axis in axes),
    ]
    name = "attributes.`Run Name`"
    return {
        "orderByKey": "metrics.`co_step`",
        "selectedColumns": columns,
        "columnOrder": [name, *columns],
        "columnWidths": {name: 330, "metrics.`robust_acc`": 140},
    }


def _charts_view(axes: Sequence[str]) -> dict[str, Any]:
    """Charts of what matters, unfolded; those that MLflow makes of every metric, folded."""
    sections = {"cosweep": "Where and how training breaks", "others": "Model metrics"}
    return {
        # MLflow draws a hundred runs unless told to load more; the first by their hash are a fair sample.
        "orderByKey": f"tags.`{TRIAL_TAG}`",
        "compareRunCharts": _charts(axes),
        "compareRunSections": [
            {"uuid": key, "name": name, "display": key == "cosweep", "isReordered": True}
            for key, name in sections.items()
        ],
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,
    }


def _charts(axes: Sequence[str]) -> list[dict[str, Any]]:
    """Parallel coordinates coloured by outcome, breaking points over an axis, accuracies by step."""
    across = next((axis for axis in axes if axis in PIXEL_COLUMNS), next(iter(axes), "seed"))
    cards: list[dict[str, Any]] = [
        # Not co_step: MLflow leaves out runs without a value, and unbroken trials have none.
        {
            "type": "PARALLEL",
            "selectedParams": list(axes),
            "selectedMetrics": ["robust_acc", "co"],
            "showAllRuns": True,
        },
        {
            "type": "SCATTER",
            "xaxis": {"key": across, "type": "PARAM"},
            "yaxis": {"key": "co_step", "type": "METRIC"},
        },
        *(
            {"type": "LINE", "metricKey": name, "selectedMetricKeys": [name], "xAxisKey": "step", **_AS_MEASURED}
            for name in reversed(_ACCURACIES)
        ),
        {"type": "BAR", "metricKey": "co_step"},
    ]
    common = {"runsCountToCompare": 1000, "metricSectionId": "cosweep", "deleted": False, "isGenerated": False}
    return [{**common, "uuid": f"cosweep-{number}", **card} for number, card in enumerate(cards)]
