"""An audit for people: the text that the command prints, and pictures of pairs that are one recording."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from beam_preprocess import storage
from beam_preprocess.audio.front_end import FrontEnd
from beam_preprocess.audit.findings import Pair
from beam_preprocess.inputs.tracks import Track
from beam_preprocess.shards import read_track
from beam_preprocess.summary import by_label
from tfrecords.common.terminal import SHOWN, align_columns

# Below the output.
PICTURES_FOLDER = "pairs"
_PICTURE_NAME = re.compile(r"\d{4,}\.png")
# How much a picture shows of what both tracks have in common: enough to see rhythm and melody.
_SHOWN_S = 15.0
# Finding about single tracks -> its words in the table.
_SINGLE = {
    "rejects": "cannot be used",
    "clipped": "clipped",
    "silent": "silent for a quarter or more",
    "mono_in_stereo": "mono in several channels",
    "cancelled": "with channels that cancel",
    "far_beyond_full_scale": "far beyond full scale",
    "length_outliers": "of unusual length",
}
_UNITS = {"share": "of it", "duration_s": "s"}


def describe(audit: Mapping[str, Any]) -> str:
    """Return several lines: a table of all findings, the first few of each, and whether the split leaks.

    Args:
      audit: content of audit.json.
    """
    groups = [
        f"{item['group']}: {', '.join(f'{count} in {part}' for part, count in item['parts'].items())}"
        for item in audit["torn_groups"]
    ]
    lines = [_table(audit), ""]
    lines += _shown("there more than once", [_duplicate_line(item) for item in audit["duplicates"]])
    lines += _shown("groups in more than one part", groups)
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
        lines.append("no leak found between the parts, neither in the audio nor among the groups")
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
    return align_columns(rows)


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
    figures = [
        f"{value:.4g} {_UNITS.get(name, name)}" if isinstance(value, float) else f"{value}"
        for name, value in item.items()
        if name not in ("track_id", "label")
    ]
    return f"{item['track_id']}: {', '.join(figures)}"


def draw_pairs(
    output: str, pairs: Sequence[Pair], tracks: Sequence[tuple[Track, str]], front_end: FrontEnd
) -> dict[str, list[str]]:
    """Write OUTPUT/pairs/0001.png and so on: both spectrograms of a pair, aligned, one above the other.

    Args:
      output: directory of the audit.
      pairs: to draw.
      tracks: each track and its part, by number.
      front_end: waveform -> log-mel.

    Returns:
      Name of each picture, below the output -> the two track_ids that it shows.
    """
    storage.make_directories(storage.join(output, PICTURES_FOLDER))
    drawn = {}
    for number, pair in enumerate(pairs, 1):
        name = f"{PICTURES_FOLDER}/{number:04d}.png"
        with storage.replacing(output, name) as file:
            file.write(_picture(pair, tracks, front_end))
        drawn[name] = [tracks[track][0].track_id for track in (pair.first, pair.second)]
    return drawn


def delete_pictures(output: str) -> None:
    """Delete the pictures of an earlier audit, and no other files."""
    folder = storage.join(output, PICTURES_FOLDER)
    names = filter(_PICTURE_NAME.fullmatch, storage.list_files(folder))
    storage.delete([storage.join(folder, name) for name in names])


def _picture(pair: Pair, tracks: Sequence[tuple[Track, str]], front_end: FrontEnd) -> bytes:
    # matplotlib takes a second to import, and most audits of a clean set draw nothing.
    from tfrecords.plots import Spectrogram, spectrogram_grid

    offset_s = pair.alignment.offset_s
    starts_s = {pair.first: max(0.0, offset_s), pair.second: max(0.0, -offset_s)}
    shown_s = min(_SHOWN_S, pair.alignment.overlap_s)
    panels = []
    for number, start_s in starts_s.items():
        track, part = tracks[number]
        title = f"{track.track_id} ({part}), from {start_s:.2f} s"
        log_mel = _log_mel(track, start_s, shown_s, front_end)
        panels.append(Spectrogram(log_mel, title, front_end.config.frames_per_s))
    return spectrogram_grid(panels, columns=1)


def _log_mel(track: Track, start_s: float, shown_s: float, front_end: FrontEnd) -> np.ndarray:
    """Return the log-mel of a stretch of a track, [frames, mel_bands]; decoding ends where the stretch does."""
    rate = front_end.config.sample_rate
    first, last = int(start_s * rate), int((start_s + shown_s) * rate)
    blocks = read_track(track, sample_rate=rate, min_samples=0, max_duration_s=float("inf"))
    kept, samples = [], 0
    for block in blocks:
        if samples + len(block) > first:
            # A copy: a view would keep the whole block.
            kept.append(block[max(0, first - samples) : last - samples].copy())
        samples += len(block)
        if samples >= last:
            break
    return front_end(np.concatenate(kept))
