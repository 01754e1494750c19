"""Pictures of pairs that were found to be one recording: both log-mel spectrograms, one above the other, aligned."""

import re
from collections.abc import Sequence

import numpy as np
from apache_beam.io.filesystems import FileSystems

from beam_preprocess import storage
from beam_preprocess.audit.duplicates import Pair
from beam_preprocess.log_mel import FrontEnd
from beam_preprocess.tracks import Track
from beam_preprocess.write_shard import read_track

FOLDER = "pairs"
_NAME = re.compile(r"\d{4,}\.png")
# Of what both have in common, enough to see rhythm and melody.
_SHOWN_S = 15.0


def draw_pairs(
    output: str, pairs: Sequence[Pair], tracks: Sequence[tuple[Track, str]], front_end: FrontEnd
) -> dict[str, list[str]]:
    """Writes OUTPUT/pairs/0001.png ...; gives their names with the track_ids that each shows.

    Args:
      output: directory of the audit.
      pairs: to draw.
      tracks: each track and its part, by number.
      front_end: waveform -> log-mel.
    """
    storage.make_directories(FileSystems.join(output, FOLDER))
    drawn = {}
    for number, pair in enumerate(pairs, 1):
        name = f"{FOLDER}/{number:04d}.png"
        with storage.replacing(output, name) as file:
            file.write(_picture(pair, tracks, front_end))
        drawn[name] = [tracks[track][0].track_id for track in (pair.first, pair.second)]
    return drawn


def delete_pictures(output: str) -> None:
    """Deletes the pictures of an earlier audit, and no other files."""
    folder = FileSystems.join(output, FOLDER)
    drawn = [name for name in storage.list_files(folder) if _NAME.fullmatch(name)]
    storage.remove([FileSystems.join(folder, name) for name in drawn])


def _picture(pair: Pair, tracks: Sequence[tuple[Track, str]], front_end: FrontEnd) -> bytes:
    # matplotlib costs a second to import, and most audits of a clean set draw nothing.
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
    """The log-mel of a stretch of a track, [frames, mel_bands]; a long recording is decoded no further than its end."""
    rate = front_end.config.sample_rate
    first, last = int(start_s * rate), int((start_s + shown_s) * rate)
    blocks = read_track(track, sample_rate=rate, min_samples=0, max_duration_s=float("inf"))
    kept, samples = [], 0
    for block in blocks:
        if samples + len(block) > first:
            # A copy: a view would keep all of its block.
            kept.append(block[max(0, first - samples) : last - samples].copy())
        samples += len(block)
        if samples >= last:
            break
    return front_end(np.concatenate(kept))
