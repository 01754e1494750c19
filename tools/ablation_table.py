"""What an ablation found: a score for each row, the difference to the base, and both as tables."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tools.ablation_rows import BASE, SETTINGS, TABLES, TUNED, Row
from trainer.cross_validation import comparison
from trainer.cross_validation.pooling import PooledPredictions
from trainer.cross_validation.tables import groups_in_words, markdown_table

# The least probability of a float32 softmax that is told from none.
_LEAST = 1e-7
_TITLES = {
    "ablation": "One switch a row",
    "tuning": f"The tuning of {len(TUNED)} models, each by the same {len(SETTINGS)} settings",
}
_COLUMNS = (
    "row",
    "model",
    "differs from the base by",
    "parameters",
    "accuracy",
    "of the averaged",
    "95 % interval",
    "less the base's, in points",
    "95 % interval",
    "log loss",
    "less the base's",
    "95 % interval",
    "seconds",
)
_MEANING = (
    "Accuracy on the development tracks, of which no training has seen one: mean ± standard deviation over the seeds, "
    "and that of the probabilities averaged over the seeds, whose mean log loss in nats is steadier. Intervals and "
    "differences, paired on the same tracks, are of the averaged, by a bootstrap over groups (artists); other "
    "trainings would vary them further, and of many rows some differ by chance. Seconds are of one training "
    "with one thread, beside whatever else ran. What is chosen by these scores is to be reported on other "
    "tracks."
)


def results(
    rows: Sequence[Row],
    pooled: PooledPredictions,
    *,
    grouped: bool,
    parameters: Mapping[str, int],
    seconds: Mapping[str, float | None],
) -> dict[str, Any]:
    """What was found, as values that json.dumps takes.

    Args:
      rows: the base among them.
      pooled: the predictions of the development tracks; its models are the rows' names, in the rows' order.
      grouped: whether the groups are what the dataset was given as such, so that none of them trained.
      parameters: row's name -> of its model.
      seconds: row's name -> of a training; None where none of the row's was timed.

    Returns:
      tracks, groups, grouped, chance, seeds: what was scored; chance is the accuracy of always answering the most
        common label.
      rows: [{name, model, flags, parameters, seconds, per_seed, accuracy, interval, log_loss, difference,
        difference_interval, log_loss_difference, log_loss_difference_interval}]; per_seed are accuracies, all that
        follows is of the probabilities averaged over the seeds; the differences are to the base.
    """
    probabilities = pooled.over_seeds
    right = probabilities.argmax(axis=2) == pooled.labels
    losses = -np.log(np.maximum(probabilities[:, np.arange(len(pooled.labels)), pooled.labels], _LEAST))
    drawn_right, drawn_losses = (comparison.bootstrap(each, pooled.group_numbers) for each in (right, losses))
    per_seed = (pooled.probabilities.argmax(axis=3) == pooled.labels).mean(axis=2)
    base = pooled.models.index(BASE.name)
    found = [
        {
            "name": row.name,
            "model": row.model,
            "flags": list(row.flags),
            "parameters": parameters[row.name],
            "seconds": seconds[row.name],
            "per_seed": per_seed[number].tolist(),
            "accuracy": float(right[number].mean()),
            "interval": list(comparison.interval(drawn_right[:, number])),
            "log_loss": float(losses[number].mean()),
            "difference": float(right[number].mean() - right[base].mean()),
            "difference_interval": list(comparison.interval(drawn_right[:, number] - drawn_right[:, base])),
            "log_loss_difference": float(losses[number].mean() - losses[base].mean()),
            "log_loss_difference_interval": list(comparison.interval(drawn_losses[:, number] - drawn_losses[:, base])),
        }
        for number, row in enumerate(rows)
    ]
    return {
        "tracks": len(pooled.labels),
        "groups": len(set(pooled.groups)),
        "grouped": grouped,
        "chance": float(np.bincount(pooled.labels).max() / len(pooled.labels)),
        "seeds": list(pooled.seeds),
        "rows": found,
    }


def markdown(found: Mapping[str, Any]) -> str:
    """ablation.md: a table of the rows of each kind that are there, unless all are in a table above."""
    by_name = {row["name"]: row for row in found["rows"]}
    lines, left = ["# Ablation", ""], set(by_name)
    for kind, table in TABLES.items():
        own = [by_name[row.name] for row in table if row.name in by_name]
        if left & {row["name"] for row in own}:
            lines += [f"## {_TITLES[kind]}", "", *markdown_table(_COLUMNS, [_cells(row) for row in own]), ""]
            left -= {row["name"] for row in own}
    scored = f"{found['tracks']} tracks, {groups_in_words(found)}"
    seeds = ", ".join(map(str, found["seeds"]))
    return "\n".join([*lines, _MEANING, "", f"{scored}; seeds {seeds}; chance {_percent(found['chance'])} %.", ""])


def as_json(found: Mapping[str, Any]) -> str:
    """ablation.json."""
    return json.dumps(found, indent=1) + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    is_base = row["name"] == BASE.name
    between, above = row["difference_interval"], row["log_loss_difference_interval"]
    seeds = np.array(row["per_seed"])
    spread = f" ± {_percent(seeds.std(ddof=1))}" if len(seeds) > 1 else ""
    return [
        row["name"],
        row["model"],
        f"`{' '.join(row['flags'])}`" if row["flags"] else "",
        f"{row['parameters']:,}",
        f"{_percent(seeds.mean())}{spread}",
        _percent(row["accuracy"]),
        f"{_percent(row['interval'][0])} to {_percent(row['interval'][1])}",
        "" if is_base else f"{100 * row['difference']:+.1f}",
        "" if is_base else f"{100 * between[0]:+.1f} to {100 * between[1]:+.1f}",
        f"{row['log_loss']:.3f}",
        "" if is_base else f"{row['log_loss_difference']:+.3f}",
        "" if is_base else f"{above[0]:+.3f} to {above[1]:+.3f}",
        "" if row["seconds"] is None else f"{row['seconds']:.0f}",
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
