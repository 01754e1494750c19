"""An audit in words: what the command prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from beam_preprocess.messages import SHOWN
from beam_preprocess.summary import by_label
from tfrecords.info import aligned

# Finding -> what its row says.
_SINGLE = {
    "rejects": "cannot be used",
    "clipped": "clipped",
    "silent": "silent for a quarter or more",
    "mono_in_stereo": "mono in several channels",
    "cancelled": "with channels that cancel",
    "far_beyond_full_scale": "far beyond full scale",
    "length_outliers": "of unusual length",
}


def describe(audit: Mapping[str, Any]) -> str:
    """Several lines: a table of all findings, then the first few of each kind, and whether the split leaks."""
    duplicates, torn = audit["duplicates"], audit["torn_groups"]
    lines = [_table(audit), ""]
    lines += _shown("there more than once", [_duplicate_line(item) for item in duplicates])
    lines += _shown("groups in more than one part", [f"{item['group']}: {_counts(item['parts'])}" for item in torn])
    for finding, words in _SINGLE.items():
        lines += _shown(words, [_single_line(item) for item in audit[finding]])
    if audit["rejects"]:
        lines.append(f"rejected by label: {by_label([item['label'] for item in audit['rejects']], audit['labels'])}")
    lines += [f"warning: {warning}" for warning in audit["warnings"]]
    leaks = audit["leaks"]
    if any(leaks.values()):
        lines.append(
            f"the split leaks: {leaks['duplicates']} recordings and {leaks['groups']} groups are in more than one part"
        )
    else:
        lines.append("the split does not leak, as far as this can be heard and the groups say")
    return "\n".join(lines)


def _table(audit: Mapping[str, Any]) -> str:
    duplicates = audit["duplicates"]
    identical = sum(pair["identical"] for item in duplicates for pair in item["pairs"])
    pairs = sum(len(item["pairs"]) for item in duplicates)
    rows = [
        ["finding", "found"],
        ["recordings there more than once", str(len(duplicates))],
        ["  pairs with identical samples", str(identical)],
        ["  other pairs of one recording", str(pairs - identical)],
        ["  across parts", str(audit["leaks"]["duplicates"])],
        ["  with different labels", str(sum(len(item["labels"]) > 1 for item in duplicates))],
        ["groups in more than one part", str(len(audit["torn_groups"]))],
        *([f"tracks {words}", str(len(audit[finding]))] for finding, words in _SINGLE.items()),
        ["tracks in all", str(audit["tracks"])],
    ]
    return aligned(rows)


def _shown(what: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    more = [f"  and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return [f"{what}:", *(f"  {item}" for item in items[:SHOWN]), *more]


def _duplicate_line(item: Mapping[str, Any]) -> str:
    tracks = [f"{track['track_id']} ({track['part']})" for track in item["tracks"]]
    more = f" and {len(tracks) - SHOWN} more" if len(tracks) > SHOWN else ""
    labels = f"; labelled {', '.join(item['labels'])}" if len(item["labels"]) > 1 else ""
    return " = ".join(tracks[:SHOWN]) + more + labels


def _single_line(item: Mapping[str, Any]) -> str:
    figures = [f"{value:.4g} {unit}" if isinstance(value, float) else f"{value}" for unit, value in _figures(item)]
    return f"{item['track_id']}: {', '.join(figures)}"


def _figures(item: Mapping[str, Any]) -> list[tuple[str, Any]]:
    units = {"share": "of it", "duration_s": "s"}
    return [(units.get(name, name), value) for name, value in item.items() if name not in ("track_id", "label")]


def _counts(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} in {part}" for part, count in parts.items())
