"""The dataset of an ablation: the development tracks are its test part, and its validation part tears no group."""

import shlex
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

from beam_preprocess import splits
from beam_preprocess.tracks import Track, list_tracks
from benchmarks import processes
from tfrecords import files
from tfrecords.command_line import UserError
from trainer import job_files

_WEIGHTS = {"train": 0.8, "valid": 0.2}


def split_lists(tracks: Sequence[Track], development: Collection[str]) -> dict[str, list[str]]:
    """Part -> track_ids, sorted: test are those of the development list, valid a fifth of the others, train the rest.

    Args:
      tracks: all.
      development: track_ids.

    Raises:
      UserError: a track of the list is not there, or a group has tracks on the list and off it.
    """
    listed = set(development)
    if missing := sorted(listed - {track.track_id for track in tracks}):
        raise UserError(f"--development lists {missing[0]!r}, which is not among the tracks of --audio")
    others = [track for track in tracks if track.track_id not in listed]
    dealt = splits.assign(others, _WEIGHTS, seed=0)
    part_of = dict.fromkeys(listed, "test")
    part_of |= {track.track_id: part for track, part in zip(others, dealt, strict=True)}
    if torn := splits.torn_groups(tracks, [part_of[track.track_id] for track in tracks]):
        raise UserError(f"--development must list all tracks of {torn[0]!r} or none; it lists some of them")
    return {part: sorted(name for name in part_of if part_of[name] == part) for part in (*_WEIGHTS, "test")}


def make_dataset(audio: str, development: Collection[str], output: Path) -> Path:
    """Writes output/lists and the dataset output/data, which is kept if it is there; returns its directory.

    Args:
      audio: CSV of the tracks.
      development: track_ids.
      output: of the ablation.

    Raises:
      UserError: as `split_lists`; a file cannot be read or written, the output holds another dataset.
    """
    lists, data_dir = output / "lists", output / "data"
    job_files.make_dir(lists, "output")
    for part, track_ids in split_lists(list_tracks(audio), development).items():
        files.write_text(lists / f"{part}.txt", "".join(f"{track_id}\n" for track_id in track_ids))
        print(f"{part}: {len(track_ids)} tracks", flush=True)
    command = ("-m", "beam_preprocess", f"--input={audio}", f"--output={data_dir}", f"--split_lists={lists}")
    try:
        processes.run_checked(*command)
    except subprocess.CalledProcessError as error:
        raise UserError(f"python {shlex.join(command)} failed ({error.returncode}); what it said is above") from None
    return data_dir
