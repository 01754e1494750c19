"""The results of a cross-validation as tables: Markdown for a README, aligned text for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

_MODEL_COLUMNS = ("model", "parameters", "patch accuracy", "track accuracy", "pooled track accuracy", "95 % interval")
_PAIR_COLUMNS = ("models", "difference in points", "95 % interval", "excludes 0")


def markdown(results: Mapping[str, Any]) -> str:
    """results.md: the models, every pair of them, and what they were made with."""
    several = [
        "",
        "Differences of pooled track accuracy, paired on the same tracks. The intervals are of these trained models: "
        "other trainings (seeds, folds) would vary the differences further. Of many pairs, some exclude 0 by chance.",
        "",
        *_markdown_table(_PAIR_COLUMNS, _pair_rows(results)),
    ]
    lines = [
        f"# Cross-validation on {_shown(results['data']['name'])}",
        "",
        *_markdown_table(_MODEL_COLUMNS, _model_rows(results)),
        *(several if results["comparisons"] else []),
        "",
        _MEANING,
        "",
        *(f"- {name}: {value}" for name, value in _facts(results).items()),
        "",
        "```",
        _shown(results["command"]),
        "```",
    ]
    return "\n".join(lines) + "\n"


def text(results: Mapping[str, Any]) -> str:
    """The same for a terminal, without the command."""
    lines = _text_table(_MODEL_COLUMNS, _model_rows(results))
    if results["comparisons"]:
        lines += ["", *_text_table(_PAIR_COLUMNS, _pair_rows(results))]
    return "\n".join([*lines, "", *(f"{name}: {value}" for name, value in _facts(results).items())])


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
            _spread(model["patch_accuracy"]),
            _spread(model["track_accuracy"]),
            _percent(model["pooled"]["track_accuracy"]),
            f"{100 * model['pooled']['interval'][0]:.1f} to {_percent(model['pooled']['interval'][1])}",
        )
        for name, model in results["models"].items()
    ]


def _pair_rows(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for pair in results["comparisons"]:
        low, high = pair["interval"]
        excludes = "no" if low <= 0 <= high else "yes"
        between = f"{100 * low:+.1f} to {100 * high:+.1f}"
        rows.append((f"{pair['one']} - {pair['other']}", f"{100 * pair['difference']:+.1f}", between, excludes))
    return rows


def _facts(results: Mapping[str, Any]) -> dict[str, str]:
    data, training = results["data"], results["training"]
    groups = f"{data['groups']} artists or other groups" if data["grouped"] else "artists not given"
    options = ",".join(f"{name}={size}" for name, size in training["model_options"].items())
    facts = {
        "data": f"{_shown(data['name'])}, {data['tracks']} tracks of {len(data['label_names'])} labels, {groups}, "
        f"{data['folds']} folds, seeds {', '.join(map(str, results['seeds']))}; fingerprint {data['fingerprint'][:12]}",
        "chance": f"{_percent(data['chance'])} (always the most common label)",
        "training": training["described"],
        **({} if training.get("validates", True) else {"validation": "none, all folds but the tested one trained"}),
        "patches": f"{training['patch_frames']} frames, {training['augment'] or 'not augmented'}",
        **({"model options": options} if options else {}),
        "versions": ", ".join(f"{name} {version}" for name, version in training["versions"].items()),
    }
    if results["warnings"]:
        facts["warning"] = "; ".join(results["warnings"])
    return facts


def _spread(score: Mapping[str, float]) -> str:
    return f"{100 * score['mean']:.1f} ± {_percent(score['std'])}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _shown(text: str) -> str:
    """Text that any file takes: names of files need not be Unicode."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]


def _text_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    return [
        "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]).rstrip()
        for cells in (columns, *rows)
    ]
