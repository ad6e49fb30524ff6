"""The view of a sweep in MLflow's UI: its trials only, the best first, with the columns that tell them apart."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.config.settings import setting_key, swept_values, used_values
from pipeline.plan.plan import PlannedTrial
from pipeline.record import artifacts
from pipeline.results.criterion import Criterion

VIEW = "mlflow.sharedViewState."
"""What the names of the experiment's tags begin with that hold views; the link names the rest of it."""

SETTING = "setting"
"""The tag of a run that names the setting which it repeats."""

_METRICS = ("val/accuracy", "test/accuracy", "train/loss")
_MOST_PARAMS = 12


def view(run_id: str, trials: Sequence[PlannedTrial], criterion: Criterion) -> tuple[str, str]:
    """Return the name and value of the tag that makes the view of the sweep with this parent run.

    It is what the UI itself writes where a person shares a view. Where trials are repeated, they are grouped by the
    setting that their tag names, in the table and in the charts.
    """
    params = artifacts.params(trials[0].config) if trials else {}
    telling = list(swept_values([used_values(trial.trial) for trial in trials]))[:_MOST_PARAMS]
    named = [name if name in params else f"trial.{name}" for name in telling]
    state = {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{run_id}'",
        "orderByKey": f"metrics.`{criterion.metric}`",
        "orderByAsc": criterion.mode == "min",
        "selectedColumns": [
            *(f"metrics.`{name}`" for name in dict.fromkeys((criterion.metric, *_METRICS))),
            *(f"params.`{name}`" for name in named),
            "tags.`outcome`",
        ],
    }
    keys = {setting_key(trial.trial, criterion.over) for trial in trials}
    if len(keys) < len(trials):
        by_setting = [{"mode": "tag", "groupByData": SETTING}]
        state |= {"groupBy": {"aggregateFunction": "average", "groupByKeys": by_setting}}
        state |= {"useGroupedValuesInCharts": True}
    return VIEW + run_id, json.dumps(state)
