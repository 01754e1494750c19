"""The results of a cross-validation as tables: Markdown for a README, aligned text for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.distribution.precision import FLOAT32

_MODEL_COLUMNS = ("model", "parameters", "patch accuracy", "track accuracy", "pooled track accuracy", "95 % interval")
DIFFERENCE_COLUMNS = ("difference in points", "95 % interval", "excludes 0")
_PAIR_COLUMNS = ("models", *DIFFERENCE_COLUMNS)
_OF_THESE_MODELS = (
    "The intervals are of these trained models: other trainings (seeds, folds) would vary the differences further. Of "
    "many pairs, some exclude 0 by chance."
)


def markdown(results: Mapping[str, Any]) -> str:
    """results.md: the models, every pair of them, and what they were made with."""
    return markdown_page(
        f"Cross-validation on {shown(results['data']['name'])}",
        markdown_table(_MODEL_COLUMNS, _model_rows(results)),
        about_differences="Differences of pooled track accuracy, paired on the same tracks.",
        differences=markdown_table(_PAIR_COLUMNS, _pair_rows(results)) if results["comparisons"] else [],
        meaning=_MEANING,
        facts=_facts(results),
        command=results["command"],
    )


def text(results: Mapping[str, Any]) -> str:
    """The same for a terminal, without the command."""
    return text_page(
        text_table(_MODEL_COLUMNS, _model_rows(results)),
        differences=text_table(_PAIR_COLUMNS, _pair_rows(results)) if results["comparisons"] else [],
        facts=_facts(results),
    )


_MEANING = (
    "Patch and track accuracy: mean ± standard deviation over folds and seeds. A track is given the genre of the "
    "highest probability, averaged over its patches. Pooled: each track once, by the models that were trained without "
    "it, probabilities averaged over the seeds; the interval is a bootstrap over groups."
)


def _model_rows(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            name,
            f"{model['parameters']:,}",
            spread(model["patch_accuracy"]),
            spread(model["track_accuracy"]),
            percent(model["pooled"]["track_accuracy"]),
            percent_interval(model["pooled"]["interval"]),
        )
        for name, model in results["models"].items()
    ]


def _pair_rows(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [(f"{pair['one']} - {pair['other']}", *difference_cells(pair)) for pair in results["comparisons"]]


def difference_cells(pair: Mapping[str, Any]) -> tuple[str, str, str]:
    """What DIFFERENCE_COLUMNS say of a pair with `difference` and `interval`, shares of 1."""
    low, high = pair["interval"]
    between = f"{100 * low:+.1f} to {100 * high:+.1f}"
    return f"{100 * pair['difference']:+.1f}", between, "no" if low <= 0 <= high else "yes"


def _facts(results: Mapping[str, Any]) -> dict[str, str]:
    data, training = results["data"], results["training"]
    groups = describe_groups(data)
    facts = {
        "data": f"{shown(data['name'])}, {data['tracks']} tracks of {len(data['label_names'])} labels, {groups}, "
        f"{data['folds']} folds, seeds {', '.join(map(str, results['seeds']))}; fingerprint {data['fingerprint'][:12]}",
        "chance": f"{percent(data['chance'])} (always the most common label)",
        "training": training["described"],
        **({} if training.get("validates", True) else {"validation": "none, all folds but the tested one trained"}),
        "patches": f"{training['patch_frames']} frames, {training['augment'] or 'not augmented'}",
        **unusual(training),
        "versions": ", ".join(f"{name} {version}" for name, version in training["versions"].items()),
    }
    if results["warnings"]:
        facts["warning"] = "; ".join(results["warnings"])
    return facts


def unusual(training: Mapping[str, Any]) -> dict[str, str]:
    """The options of the model and the precision of a training, where these are not the usual ones."""
    options = ",".join(f"{name}={size}" for name, size in training.get("model_options", {}).items())
    # Neither is in what was saved before there was a choice.
    precision = training.get("precision", FLOAT32)
    found = {"model options": options, "precision": "" if precision == FLOAT32 else precision}
    return {name: value for name, value in found.items() if value}


def spread(score: Mapping[str, float]) -> str:
    """A mean and its standard deviation, shares of 1, in percent."""
    return f"{100 * score['mean']:.1f} ± {percent(score['std'])}"


def percent_interval(interval: Sequence[float]) -> str:
    """Two shares of 1, in percent."""
    return f"{100 * interval[0]:.1f} to {percent(interval[1])}"


def percent(share: float) -> str:
    """A share of 1, in percent."""
    return f"{100 * share:.1f} %"


def shown(text: str) -> str:
    """Text that any file takes: names of files need not be Unicode."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def describe_groups(data: Mapping[str, Any]) -> str:
    """How many groups the tracks of results' data are of."""
    return f"{data['groups']} artists or other groups" if data["grouped"] else "artists not given"


def markdown_page(
    title: str,
    table: Sequence[str],
    *,
    about_differences: str,
    differences: Sequence[str],
    meaning: str,
    facts: Mapping[str, str],
    command: str,
) -> str:
    """A page of Markdown: a table, one of differences if there are any, what they mean, facts and the command."""
    several = ["", f"{about_differences} {_OF_THESE_MODELS}", "", *differences] if differences else []
    listed = [f"- {name}: {value}" for name, value in facts.items()]
    lines = [f"# {title}", "", *table, *several, "", meaning, "", *listed, "", "```", shown(command), "```"]
    return "\n".join(lines) + "\n"


def text_page(table: Sequence[str], *, differences: Sequence[str], facts: Mapping[str, str]) -> str:
    """The tables and the facts for a terminal."""
    several = ["", *differences] if differences else []
    return "\n".join([*table, *several, "", *(f"{name}: {value}" for name, value in facts.items())])


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table whose columns stand below each other."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    return [
        "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]).rstrip()
        for cells in (columns, *rows)
    ]
