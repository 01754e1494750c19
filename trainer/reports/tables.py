"""Results as tables: aligned text for a terminal, Markdown for a README."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfrecords.common.terminal import encodable, printable
from trainer.distribution.precision import FLOAT32
from trainer.evaluation.summary import Summary
from trainer.reports.formatting import percent, percent_interval, spread

DIFFERENCE_COLUMNS = ("difference in points", "95 % interval", "excludes 0")
_DASH = "\N{EN DASH}"
_LIMITS_OF_INTERVALS = (
    "The intervals are of these trained models: other trainings (seeds, folds) would vary the differences further. Of "
    "many pairs, some exclude 0 by chance."
)
_MEANING_OF_CROSS_VALIDATION = (
    "Patch and track accuracy: mean ± standard deviation over folds and seeds. A track is given the genre of the "
    "highest probability, averaged over its patches. Pooled: each track once, by the models that were trained without "
    "it, probabilities averaged over the seeds; the interval is a bootstrap over groups. Macro recall and F1, of the "
    "pooled predictions: every genre counts as much as any other."
)
_MEANING_OF_COMPARISON = (
    "Each track is scored once, by the models that were trained without it, probabilities averaged over its patches "
    "and over the seeds; the interval is a bootstrap over groups. Per seed: mean ± standard deviation over the seeds, "
    "each alone. Macro recall and F1 count every genre alike. Training: processor time of the process of one "
    "training, all threads together, the mean over folds and seeds of those that were never interrupted. Predictions: "
    "30 s clips through the model, from normalised patches to probabilities."
)


@dataclass(frozen=True)
class Table:
    """Rows of cells below the names of the columns.

    Example:
      >>> table = Table(("model", "accuracy"), [("time", "61.5 %"), ("black_box", "70.0 %")])
      >>> print(table.text())
      model      accuracy
      time         61.5 %
      black_box    70.0 %
      >>> print(table.markdown())
      | model | accuracy |
      | --- | --- |
      | time | 61.5 % |
      | black_box | 70.0 % |
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """Return the table in Markdown."""
        return "\n".join(f"| {' | '.join(row)} |" for row in (self.columns, ["---"] * len(self.columns), *self.rows))

    def text(self, *, rules: Sequence[int] = ()) -> str:
        """Return the table with aligned columns, the first to the left, the others to the right.

        Args:
          rules: numbers of the rows above which a rule is drawn.
        """
        widths = [max(map(len, cells)) for cells in zip(self.columns, *self.rows, strict=True)]
        lines = [
            "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])])
            for cells in (self.columns, *self.rows)
        ]
        for row in sorted(rules, reverse=True):
            lines.insert(1 + row, "  ".join("-" * width for width in widths))
        return "\n".join(lines)


@dataclass(frozen=True)
class Document:
    """A table of models, their differences and what both were made with.

    Attributes:
      title: the heading.
      models: the table of models.
      differences: the table of their differences; without rows it is left out.
      about_differences: what is compared, a sentence.
      meaning: what the columns mean.
      facts: what the models were scored on and how they were trained.
      command: the command that made it all.
    """

    title: str
    models: Table
    differences: Table
    about_differences: str
    meaning: str
    facts: Mapping[str, str]
    command: str

    def markdown(self) -> str:
        """Return all of it in Markdown."""
        about = [f"{self.about_differences} {_LIMITS_OF_INTERVALS}", self.differences.markdown()]
        facts = "\n".join(f"- {name}: {value}" for name, value in self.facts.items())
        paragraphs = [
            f"# {self.title}",
            self.models.markdown(),
            *(about if self.differences.rows else []),
            self.meaning,
            facts,
            f"```\n{encodable(self.command)}\n```",
        ]
        return "\n\n".join(paragraphs) + "\n"

    def text(self) -> str:
        """Return the tables and the facts for a terminal."""
        facts = "\n".join(f"{name}: {value}" for name, value in self.facts.items())
        tables = [table.text() for table in (self.models, self.differences) if table.rows]
        return "\n\n".join([*tables, facts])


def evaluation(summary: Summary) -> str:
    """Return the scores of each genre's tracks, by mean probability, for a terminal.

    The columns are genre, tracks, accuracy (of one genre: its recall), precision, recall and F1; the last line holds
    the accuracy over all tracks and the macro recall and F1, and below it stand those of the tracks whose artists are
    new, where some are not. A genre without tracks has a dash for what is then undefined.
    """
    scores, rows = summary.scores, []
    for name, label in scores.per_label.items():
        accuracy, recall = (percent(label[key]) if label["tracks"] else "-" for key in ("accuracy", "recall"))
        values = (accuracy, percent(label["precision"]), recall, f"{label['f1']:.3f}")
        rows.append((printable(name), str(label["tracks"]), *values))
    totals = [("overall", scores)]
    totals += [(f"artists new to {new_to}", own) for new_to, own in summary.scores_of_new_groups]
    rows += [
        (name, str(own.tracks), percent(own.track_accuracy_mean), "", percent(own.macro_recall), f"{own.macro_f1:.3f}")
        for name, own in totals
    ]
    table = Table(("genre", "tracks", "accuracy", "precision", "recall", "F1"), rows)
    return table.text(rules=(0, len(scores.per_label)))


def calibration(found: Mapping[str, Any]) -> str:
    """Return how honest probabilities and answers are (`trainer.evaluation.reliability.assess`) in sentences."""
    raw = found["raw"]
    text = f"Expected calibration error {percent(raw['error'])}"
    if "scaled" in found:
        text += f", {percent(found['scaled']['error'])} once scaled"
    last = found.get("scaled", raw)
    chance = last["error_by_chance"]
    text += (
        f"; probabilities that are right would have {percent(chance['mean'])} on so many tracks, at most "
        f"{percent(chance['high'])}. Corrected for that: {percent(raw['corrected_error'])}"
    )
    if "scaled" not in found:
        return f"{text}."
    sets, sure = found["sets"], found["sure"]
    return (
        f"{text}, {percent(last['corrected_error'])} once scaled. Sets that are to hold {100 * sets['asked']:.0f} % of "
        f"the labels hold {percent(sets['covered'])}, by {sets['labels']:.1f} labels each. Sure are "
        f"{percent(sure['share'])} of the answers, of which {percent(sure['error'])} are wrong (asked: at most "
        f"{100 * sure['asked']:.0f} %). Unlike the training music: {percent(found['unfamiliar'])} of the tracks."
    )


def cross_validation(results: Mapping[str, Any]) -> Document:
    """Return the tables of a cross-validation (`trainer.evaluation.results.results`)."""
    columns = ("model", "parameters", "patch accuracy", "track accuracy", "pooled track accuracy", "95 % interval")
    macro = _macro_columns([model["pooled"] for model in results["models"].values()])
    rows = [
        (
            name,
            f"{model['parameters']:,}",
            spread(model["patch_accuracy"]),
            spread(model["track_accuracy"]),
            percent(model["pooled"]["track_accuracy"]),
            percent_interval(model["pooled"]["interval"]),
            *_macro_cells(model["pooled"], macro),
        )
        for name, model in results["models"].items()
    ]
    pairs = [(f"{pair['one']} - {pair['other']}", *difference_cells(pair)) for pair in results["comparisons"]]
    return Document(
        title=f"Cross-validation on {encodable(results['data']['name'])}",
        models=Table((*columns, *macro), rows),
        differences=Table(("models", *DIFFERENCE_COLUMNS), pairs),
        about_differences="Differences of pooled track accuracy, paired on the same tracks.",
        meaning=_MEANING_OF_CROSS_VALIDATION,
        facts=_facts_of_cross_validation(results),
        command=results["command"],
    )


def comparison(compared: Mapping[str, Any]) -> Document:
    """Return the tables of a comparison (`trainer.evaluation.comparison.compare_entries`)."""
    columns = (
        "model",
        "parameters",
        "training, core s",
        "predictions/s",
        "track accuracy",
        "95 % interval",
        "accuracy per seed",
        "seeds",
    )
    macro = _macro_columns(list(compared["entries"].values()))
    rows = [
        (
            name,
            f"{entry['parameters']:,}",
            _core_seconds(entry["core_seconds"]),
            f"{entry['predictions_per_s']['median']:,.0f}" if entry["predictions_per_s"] else _DASH,
            percent(entry["track_accuracy"]),
            percent_interval(entry["interval"]),
            spread(entry["over_seeds"]) if len(entry["seeds"]) > 1 else percent(entry["over_seeds"]["mean"]),
            str(len(entry["seeds"])),
            *_macro_cells(entry, macro),
        )
        for name, entry in compared["entries"].items()
    ]
    pairs = [(pair["one"], pair["other"], *difference_cells(pair)) for pair in compared["comparisons"]]
    return Document(
        title=f"Comparison on {encodable(compared['data']['name'])}",
        models=Table((*columns, *macro), rows),
        differences=Table(("model", "against", *DIFFERENCE_COLUMNS), pairs),
        about_differences="Differences of track accuracy, paired on the same tracks and draws.",
        meaning=_MEANING_OF_COMPARISON,
        facts=_facts_of_comparison(compared),
        command=compared["command"],
    )


def _macro_columns(scores: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the columns of scores that count all genres alike; results of earlier versions have none."""
    return ("macro recall", "macro F1") if all("macro_recall" in each for each in scores) else ()


def _macro_cells(scores: Mapping[str, Any], columns: Sequence[str]) -> tuple[str, ...]:
    return (percent(scores["macro_recall"]), f"{scores['macro_f1']:.3f}") if columns else ()


def difference_cells(pair: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the cells below DIFFERENCE_COLUMNS of a pair with `difference` and `interval`, shares of 1."""
    low, high = pair["interval"]
    between = f"{100 * low:+.1f} to {100 * high:+.1f}"
    return f"{100 * pair['difference']:+.1f}", between, "no" if low <= 0 <= high else "yes"


def unusual_options(training: Mapping[str, Any]) -> dict[str, str]:
    """Return the model's options and the precision of a training by name, where these are not the usual ones."""
    options = ",".join(f"{name}={size}" for name, size in training.get("model_options", {}).items())
    # Neither is in what was saved before there was a choice.
    precision = training.get("precision", FLOAT32)
    values = {"model options": options, "precision": "" if precision == FLOAT32 else precision}
    return {name: value for name, value in values.items() if value}


def _core_seconds(cost: Mapping[str, Any]) -> str:
    if not cost["measured"]:
        return _DASH
    some = f" ({cost['measured']} of {cost['trainings']})" if cost["measured"] < cost["trainings"] else ""
    return f"{cost['mean']:,.0f}{some}"


def _facts_of_cross_validation(results: Mapping[str, Any]) -> dict[str, str]:
    data, training = results["data"], results["training"]
    facts = {
        "data": f"{encodable(data['name'])}, {data['tracks']} tracks of {len(data['label_names'])} labels, "
        f"{_describe_groups(data)}, {data['folds']} folds, seeds {', '.join(map(str, results['seeds']))}; "
        f"fingerprint {data['fingerprint'][:12]}",
        "chance": f"{percent(data['chance'])} (always the most common label)",
        "training": training["described"],
        **({} if training.get("validates", True) else {"validation": "none, all folds but the tested one trained"}),
        "patches": f"{training['patch_frames']} frames, {training['augment'] or 'not augmented'}",
        **unusual_options(training),
        "versions": ", ".join(f"{name} {version}" for name, version in training["versions"].items()),
    }
    if results["warnings"]:
        facts["warning"] = "; ".join(results["warnings"])
    return facts


def _facts_of_comparison(compared: Mapping[str, Any]) -> dict[str, str]:
    data = compared["data"]
    facts = {
        "scored": f"{data['tracks']} tracks of {encodable(data['name'])}, {len(data['label_names'])} labels, "
        f"{_describe_groups(data)}, {data['folds']} folds; fingerprint {data['fingerprint'][:12]}",
        "chance": f"{percent(data['chance'])} (always the most common label)",
    }
    if left_out := data["left_out"]:
        facts["left out"] = f"{left_out['tracks']} tracks, by a list with SHA-256 {left_out['sha256'][:12]}"
    if data["tracks_without_patch"]:
        facts["without a patch"] = f"{data['tracks_without_patch']} tracks are too short for some of the models"
    measured = [entry["predictions_per_s"] for entry in compared["entries"].values()]
    if rounds := [speed["rounds"] for speed in measured if speed]:
        apart = max(max(speeds) / min(speeds) for speeds in rounds)
        facts["predictions/s"] = f"medians of {len(rounds[0])} rounds, which lie up to {apart:.1f} times apart"
    facts |= _describe_trainings(compared)
    if compared["warnings"]:
        facts["warning"] = "; ".join(compared["warnings"])
    return facts


def _describe_trainings(compared: Mapping[str, Any]) -> dict[str, str]:
    """How the entries were trained, by recipe and flags; also by models where these were trained in several ways."""
    ways: dict[str, dict[str, list[str]]] = {}
    for entry in compared["entries"].values():
        training = entry["training"]
        options = f" ({entry['flags']})" if entry["flags"] else ""
        described = training["described"].removeprefix(f"{entry['recipe']}: ")
        patches = f"patches of {training['patch_frames']} frames, {training['augment'] or 'not augmented'}"
        words = [described, patches, *(f"{name} {value}" for name, value in unusual_options(training).items())]
        models_by_way = ways.setdefault(f"{entry['recipe']}{options}", {})
        models_by_way.setdefault("; ".join(words), []).append(entry["model"])
    return {
        name if len(models_by_way) == 1 else f"{name}, {', '.join(models)}": words
        for name, models_by_way in ways.items()
        for words, models in models_by_way.items()
    }


def _describe_groups(data: Mapping[str, Any]) -> str:
    return f"{data['groups']} artists or other groups" if data["grouped"] else "artists not given"
