"""A comparison of cross-validations as tables: Markdown for a README, aligned text for a terminal."""

from collections.abc import Mapping
from typing import Any

from trainer.reports.tables import (
    DIFFERENCE_COLUMNS,
    describe_groups,
    difference_cells,
    markdown_page,
    markdown_table,
    percent,
    percent_interval,
    shown,
    spread,
    text_page,
    text_table,
    unusual,
)

_ENTRY_COLUMNS = (
    "model",
    "parameters",
    "training, core s",
    "predictions/s",
    "track accuracy",
    "95 % interval",
    "accuracy per seed",
    "seeds",
)
_PAIR_COLUMNS = ("model", "against", *DIFFERENCE_COLUMNS)
_DASH = "\N{EN DASH}"


def markdown(compared: Mapping[str, Any]) -> str:
    """compare.md: the entries, their differences, what they mean and what they were made with."""
    return markdown_page(
        f"Comparison on {shown(compared['data']['name'])}",
        markdown_table(_ENTRY_COLUMNS, _entry_rows(compared)),
        about_differences="Differences of track accuracy, paired on the same tracks and draws.",
        differences=markdown_table(_PAIR_COLUMNS, _pair_rows(compared)) if compared["comparisons"] else [],
        meaning=_MEANING,
        facts=_facts(compared),
        command=compared["command"],
    )


def text(compared: Mapping[str, Any]) -> str:
    """The same for a terminal, without meaning and command."""
    return text_page(
        text_table(_ENTRY_COLUMNS, _entry_rows(compared)),
        differences=text_table(_PAIR_COLUMNS, _pair_rows(compared)) if compared["comparisons"] else [],
        facts=_facts(compared),
    )


_MEANING = (
    "Each track is scored once, by the models that were trained without it, probabilities averaged over its patches "
    "and over the seeds; the interval is a bootstrap over groups. Per seed: mean ± standard deviation over the seeds, "
    "each alone. Training: processor time of the process of one training, all threads together, the mean over folds "
    "and seeds of those that were never interrupted. Predictions: 30 s clips through the model, from normalised "
    "patches to probabilities."
)


def _entry_rows(compared: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            name,
            f"{entry['parameters']:,}",
            _core_seconds(entry["core_seconds"]),
            _speed(entry["predictions_per_s"]),
            percent(entry["track_accuracy"]),
            percent_interval(entry["interval"]),
            spread(entry["over_seeds"]) if len(entry["seeds"]) > 1 else percent(entry["over_seeds"]["mean"]),
            str(len(entry["seeds"])),
        )
        for name, entry in compared["entries"].items()
    ]


def _core_seconds(found: Mapping[str, Any]) -> str:
    """A dash: not measured."""
    if not found["measured"]:
        return _DASH
    partly = f" ({found['measured']} of {found['trainings']})" if found["measured"] < found["trainings"] else ""
    return f"{found['mean']:,.0f}{partly}"


def _speed(found: Mapping[str, Any] | None) -> str:
    return f"{found['median']:,.0f}" if found else _DASH


def _pair_rows(compared: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [(pair["one"], pair["other"], *difference_cells(pair)) for pair in compared["comparisons"]]


def _facts(compared: Mapping[str, Any]) -> dict[str, str]:
    data = compared["data"]
    groups = describe_groups(data)
    facts = {
        "scored": f"{data['tracks']} tracks of {shown(data['name'])}, {len(data['label_names'])} labels, {groups}, "
        f"{data['folds']} folds; fingerprint {data['fingerprint'][:12]}",
        "chance": f"{percent(data['chance'])} (always the most common label)",
    }
    if left_out := data["left_out"]:
        facts["left out"] = f"{left_out['tracks']} tracks, by a list with SHA-256 {left_out['sha256'][:12]}"
    if data["tracks_without_patch"]:
        facts["without a patch"] = f"{data['tracks_without_patch']} tracks are too short for some of the models"
    if speeds := [found["rounds"] for entry in compared["entries"].values() if (found := entry["predictions_per_s"])]:
        apart = max(max(rounds) / min(rounds) for rounds in speeds)
        facts["predictions/s"] = f"medians of {len(speeds[0])} rounds, which lie up to {apart:.1f} times apart"
    facts |= _trainings(compared)
    if compared["warnings"]:
        facts["warning"] = "; ".join(compared["warnings"])
    return facts


def _trainings(compared: Mapping[str, Any]) -> dict[str, str]:
    """How the entries were trained, by recipe and flags; also by models where these were trained in several ways."""
    ways: dict[str, dict[str, list[str]]] = {}
    for entry in compared["entries"].values():
        training = entry["training"]
        options = f" ({entry['flags']})" if entry["flags"] else ""
        described = training["described"].removeprefix(f"{entry['recipe']}: ")
        patches = f"patches of {training['patch_frames']} frames, {training['augment'] or 'not augmented'}"
        alike = ways.setdefault(f"{entry['recipe']}{options}", {})
        words = [described, patches, *(f"{name} {value}" for name, value in unusual(training).items())]
        alike.setdefault("; ".join(words), []).append(entry["model"])
    return {
        name if len(alike) == 1 else f"{name}, {', '.join(models)}": words
        for name, alike in ways.items()
        for words, models in alike.items()
    }
