"""Plants wrong labels into a dataset and counts how many of them `trainer.label_errors` finds.

python -m tools.planted_labels --data_dir=DATA --output=DIR [--model=musicnn] [--shares=0.05,0.1] [--seeds=2]

DATA is a dataset of folds. For each share and seed a copy is made in which so many tracks have another label, drawn
evenly, and is cross-validated. The finder then lists all tracks, the likeliest error first: printed are how many of the
planted ones are in the list of their number (which is its precision and its recall), how many tracks it calls suspects,
and how many of these were planted. Errors that DATA had before count as mistakes of the finder. --groups changes whole
groups (artists) instead of single tracks. DIR/planted_labels.json holds the table; what is finished there is kept when
the command is given again.

Exit status 1 if of the smallest share less than half of the list is right, with any seed.
"""

import dataclasses
import datetime
import hashlib
import json
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks import processes
from tfrecords import schema
from tfrecords.common import command_line, files
from tfrecords.common.command_line import UserError
from tfrecords.dataset import Dataset
from tfrecords.manifest import FILE_NAME, Part, Shard
from tfrecords.shard import RecordWriter
from trainer.evaluation.cross_validation import POOLED_FILE
from trainer.evaluation.label_errors import LabelErrors, find_label_errors
from trainer.evaluation.pooling import PooledPredictions
from trainer.reports.formatting import percent
from trainer.reports.tables import Table
from trainer.training_job import count_folds

WANTED = 0.5
RESULT_FILE = "planted_labels.json"
_COLUMNS = ("wrong labels", "seed", "right in a list of as many", "suspects", "of them planted", "planted found")

FLAGS = flags.FlagValues()
flags.DEFINE_string("data_dir", "", "directory of the dataset, on this machine", flag_values=FLAGS)
flags.DEFINE_string("output", "", "directory to write to", flag_values=FLAGS)
flags.DEFINE_string("model", "musicnn", "which model judges, by its usual recipe", flag_values=FLAGS)
flags.DEFINE_list("shares", ["0.05", "0.1"], "of the tracks that get a wrong label", flag_values=FLAGS)
flags.DEFINE_integer("seeds", 2, "sets of wrong labels of each share", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_bool("groups", False, "change whole groups, as artists are", flag_values=FLAGS)


@dataclasses.dataclass(frozen=True)
class Track:
    """A track of the dataset: its label and its group."""

    label: int
    group: str


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Plants, cross-validates, counts; returns the exit status."""
    command_line.no_arguments(positional)
    if not flag_values.data_dir or not flag_values.output:
        raise UserError("--data_dir=DATA and --output=DIR are needed (see --help)")
    shares = _shares(flag_values.shares)
    dataset, output = Dataset(flag_values.data_dir), Path(flag_values.output)
    count_folds(dataset.manifest)
    tracks = {
        record.track_id: Track(record.label, record.group)
        for part in dataset.manifest.parts
        for record in dataset.records(part)
    }
    outcomes = {
        (share, seed): _outcome(flag_values, dataset, tracks, output, share, seed)
        for share in shares
        for seed in range(flag_values.seeds)
    }
    rows = [outcome.row(share, seed) for (share, seed), outcome in outcomes.items()]
    files.write_text(
        output / RESULT_FILE, json.dumps(_result(flag_values, dataset, len(tracks), rows), indent=1) + "\n"
    )
    print(Table(_COLUMNS, rows).text())
    return int(any(outcome.precision < WANTED for (share, _), outcome in outcomes.items() if share == min(shares)))


def _shares(texts: Sequence[str]) -> list[float]:
    try:
        shares = [float(text) for text in texts]
    except ValueError:
        shares = []
    if not shares or not all(0 < share < 1 for share in shares):
        raise UserError(f"--shares must be numbers above 0 and below 1, got {','.join(texts)!r}")
    return shares


def _result(flag_values: flags.FlagValues, dataset: Dataset, tracks: int, rows: Any) -> dict[str, Any]:
    given = [flag_values[name].serialize() for name in ("model", "groups") if flag_values[name].present]
    what = "all tracks of some artists" if flag_values.groups else "single tracks"
    return {
        "title": f"Wrong labels planted into {what} of {dataset.manifest.name} ({tracks} tracks), judged by "
        f"`{flag_values.model}`",
        "commands": [shlex.join(["python", "-m", "tools.planted_labels", "--data_dir=DATA", "--output=DIR", *given])],
        "measured": f"{datetime.datetime.now(tz=datetime.UTC):%-d %B %Y}",
        "columns": list(_COLUMNS),
        "rows": rows,
    }


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the finder makes of planted errors.

    Attributes:
      planted: how many there are.
      listed: of them among as many tracks, the likeliest errors.
      suspects: tracks that it calls suspects.
      caught: planted ones among these.
    """

    planted: int
    listed: int
    suspects: int
    caught: int

    @classmethod
    def of(cls, found: LabelErrors, planted: np.ndarray) -> "Outcome":
        """Count, for [tracks] bool of those that were planted."""
        count = int(planted.sum())
        listed = int(planted[found.order[:count]].sum())
        return cls(count, listed, int(found.is_suspect.sum()), int((found.is_suspect & planted).sum()))

    @property
    def precision(self) -> float:
        """Share of the list of their number that is right, which is also the share of them that it holds."""
        return self.listed / self.planted

    def row(self, share: float, seed: int) -> tuple[str, ...]:
        """Return the cells of its row of the table."""
        suspects = percent(self.caught / self.suspects) if self.suspects else "-"
        of_all = f"{self.listed} of {self.planted}, {percent(self.precision)}"
        found = percent(self.caught / self.planted)
        return f"{100 * share:g} %", str(seed), of_all, str(self.suspects), suspects, found


def _outcome(
    flag_values: flags.FlagValues,
    dataset: Dataset,
    tracks: Mapping[str, Track],
    output: Path,
    share: float,
    seed: int,
) -> Outcome:
    wrong = plant(tracks, len(dataset.manifest.labels), share=share, seed=seed, whole_groups=flag_values.groups)
    directory = output / f"{'groups' if flag_values.groups else 'tracks'}_{share:g}_seed_{seed}"
    data, cv_dir = directory / "data", directory / "cross_validation"
    if not (data / FILE_NAME).exists():
        relabel(dataset, data, wrong)
    trained = (f"--data_dir={data}", f"--job_dir={cv_dir}", f"--model={flag_values.model}")
    processes.run_checked("-m", "trainer.cross_validate", *trained)
    pooled = PooledPredictions.load(cv_dir / POOLED_FILE)
    groups = pooled.groups if dataset.manifest.split.get("grouped") else None
    found = find_label_errors(pooled.over_seeds[0], pooled.labels, groups)
    return Outcome.of(found, np.array([track_id in wrong for track_id in pooled.track_ids]))


def plant(
    tracks: Mapping[str, Track], num_labels: int, *, share: float, seed: int, whole_groups: bool
) -> dict[str, int]:
    """Return wrong labels for a share of the tracks, by their ids, or for whole groups with no more tracks together."""
    rng, count = np.random.default_rng(seed), max(1, round(share * len(tracks)))
    names = list(tracks)
    units: list[list[str]] = [[name] for name in names]
    if whole_groups:
        groups: dict[str, list[str]] = {}
        for name, track in tracks.items():
            groups.setdefault(track.group, []).append(name)
        units = list(groups.values())
    wrong: dict[str, int] = {}
    for unit in rng.permutation(len(units)):
        if len(wrong) + len(units[unit]) <= count:
            turn = int(rng.integers(1, num_labels))
            wrong |= {name: (tracks[name].label + turn) % num_labels for name in units[unit]}
    return wrong


def relabel(dataset: Dataset, output: Path, labels: Mapping[str, int]) -> None:
    """Write a copy of a dataset in which some tracks have other labels, its manifest last."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    manifest = dataset.manifest
    parts = {name: _relabelled(dataset, part, output, labels) for name, part in manifest.parts.items()}
    changed = json.dumps([manifest.fingerprint, sorted(labels.items())]).encode()
    copy = dataclasses.replace(manifest, parts=parts, fingerprint=hashlib.sha256(changed).hexdigest())
    files.write_text(output / FILE_NAME, copy.to_json())


def _relabelled(dataset: Dataset, part: Part, output: Path, labels: Mapping[str, int]) -> Part:
    names = dataset.manifest.labels
    tracks: Counter[str] = Counter(dict.fromkeys(names, 0))

    def records(shard: Shard) -> Iterator[bytes]:
        for record in dataset.shard_records(shard):
            changed = dataclasses.replace(record, label=labels.get(record.track_id, record.label))
            tracks[names[changed.label]] += record.segment == 0
            yield schema.encode(changed)

    shards = []
    for shard in part.shards:
        with (output / shard.file).open("wb") as file:
            writer = RecordWriter(file)
            for serialized in records(shard):
                writer.write(serialized)
        shards.append(dataclasses.replace(shard, bytes=writer.size, sha256=writer.sha256))
    return dataclasses.replace(part, shards=tuple(shards), tracks=dict(tracks))


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
