"""Which part of the recipe does what: trainings that differ by one switch each, on a fixed development split.

python -m tools.ablation --audio=tracks.csv --output=DIR [--seeds=3] [--rows=ablation,tuning] [--processes=2]
    [--development=benchmarks/emotify_development.txt] [--epochs=N]

The tracks that --development lists, one a line, are scored; the others train. Where a recipe has its epoch chosen, a
fifth of these, by whole artists, does that instead. All rows (tools/ablation_rows.py) are trained from each
seed and compared with the base: the accuracy of the probabilities averaged over the seeds, and their log loss, both
with the 95 % interval of the difference, by a bootstrap over artists. --rows takes names of rows or tables; the base is
always trained.

DIR then holds

  lists, data         the split, and the dataset that beam_preprocess makes of it
  <row>/seed_<s>/     a job directory for each training, with the predictions of the development tracks
  ablation.md, .json  the tables, of the rows that were asked for

One that was stopped, however it was, goes on when the same command is given again; with more seeds or rows it trains
what is missing.
"""

import dataclasses
import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from absl import flags

from tfrecords import command_line, files
from tfrecords.command_line import UserError
from tfrecords.manifest import Manifest
from tools import ablation_rows, ablation_table
from tools.ablation_rows import Row
from trainer import job_files, training_job
from trainer.cross_validation import trainings
from trainer.cross_validation.fold_run import FoldRun
from trainer.cross_validation.left_out import LeftOut
from trainer.cross_validation.plan import Run
from trainer.cross_validation.pooling import Track, pool, read_tracks
from trainer.scoring import metrics
from trainer.scoring.saved_predictions import PREDICTIONS_FILE, FoldPredictions
from trainer.scoring.score_warnings import KEPT_APART, TORN, groups_of
from trainer.training_job import TrainingJob

TABLE_FILE = "ablation.md"
RESULTS_FILE = "ablation.json"
_DEVELOPMENT = Path(__file__).parents[1] / "benchmarks" / "emotify_development.txt"
# One thread each, so that no result depends on how many trainings run at a time.
_THREADS = 1
_SAVE_EVERY_S = 300.0

FLAGS = flags.FlagValues()
flags.DEFINE_string("audio", "", "CSV of the tracks: path, genre, artist", flag_values=FLAGS)
flags.DEFINE_string("output", "", "directory to write to", flag_values=FLAGS)
flags.DEFINE_string("development", str(_DEVELOPMENT), "list of the tracks to score, one a line", flag_values=FLAGS)
flags.DEFINE_integer("seeds", 3, "trainings of each row, from seed 0 on", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_list(
    "rows",
    list(ablation_rows.TABLES),
    f"some of {', '.join([*ablation_rows.TABLES, *(row.name for row in ablation_rows.ABLATION)])}, ...",
    flag_values=FLAGS,
)
flags.DEFINE_integer("processes", 2, "trainings at a time", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer(
    "epochs", None, "of each training, at most, where its row does not say; by default the recipe's", flag_values=FLAGS
)


@dataclasses.dataclass(frozen=True)
class RowRun(Run):
    """A training of a row, in place of a model, tested on a part, in place of a fold."""

    def __str__(self) -> str:
        return f"{self.model}, seed {self.seed}"

    def job_dir(self, cv_dir: Path) -> Path:
        """An ordinary job directory, for every command that takes one."""
        return cv_dir / self.model / f"seed_{self.seed}"


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Writes the dataset, trains what is left, writes the tables and prints them."""
    command_line.no_arguments(positional)
    if not flag_values.audio or not flag_values.output:
        raise UserError("--audio=tracks.csv and --output=DIR are needed (see --help)")
    rows, output = ablation_rows.chosen(flag_values.rows), Path(flag_values.output)
    development = LeftOut.read(Path(flag_values.development), flag="development").track_ids
    # Not above: the workers, which import this module, need no Beam.
    from tools import ablation_split

    job_files.make_dir(output, "output")
    with job_files.claimed(output):
        data_dir = ablation_split.make_dataset(flag_values.audio, development, output)
        manifest = Manifest.load(data_dir)
        if groups_of(manifest) == TORN:
            raise UserError(
                f"{data_dir}: artists are in more than one part, by what the package knows of this music; give --audio "
                "a CSV with the column artist, --development a list that tears none, and another --output"
            )
        runs = _runs(flag_values, rows, manifest, data_dir)
        tracks = _tracks_to_score(runs, manifest, development)
        trainings.check_models([each for each in runs if not each.is_done], mel_bands=manifest.mel_bands)
        trainings.carry_out(runs, processes=flag_values.processes, threads=_THREADS)
        _finish(rows, runs, tracks, manifest, output)


def _runs(flag_values: flags.FlagValues, rows: Sequence[Row], manifest: Manifest, data_dir: Path) -> list[FoldRun]:
    """Every training, in the rows' order.

    Raises:
      UserError: as trainer.train.make_job; a training's directory holds another one.
    """
    test = list(manifest.parts).index("test")
    found = []
    for row in rows:
        for seed in range(flag_values.seeds):
            job = ablation_rows.make_job(row, data_dir, seed, flag_values.epochs)
            run = RowRun(row.name, seed, test)
            job_dir = run.job_dir(Path(flag_values.output))
            begun = (job_dir / training_job.CONFIG_FILE).exists()
            if begun and (differences := TrainingJob.load(job_dir).differences(job)):
                raise UserError(
                    f"{job_dir} holds a training that differs: {'; '.join(differences)}; delete it, or choose another "
                    "--output"
                )
            found.append(FoldRun(run, job, job_dir, _SAVE_EVERY_S))
    return found


def _tracks_to_score(runs: Sequence[FoldRun], manifest: Manifest, development: Collection[str]) -> dict[str, Track]:
    """The development tracks, all of them.

    Raises:
      UserError: one of them gives some rows no patch.
    """
    longest = max(each.job.patch_frames for each in runs)
    found = read_tracks(manifest, runs[0].job.data_dir, patch_frames=longest)
    if missing := sorted(set(development) - set(found)):
        raise UserError(
            f"--development lists {missing[0]!r}, which was rejected or is too short for the patches of {longest} "
            "frames of some rows; take it off the list and out of --audio, with another --output, or choose other "
            "--rows"
        )
    return {track_id: track for track_id, track in found.items() if track.fold == runs[0].run.fold}


def _finish(
    rows: Sequence[Row], runs: Sequence[FoldRun], tracks: Mapping[str, Track], manifest: Manifest, output: Path
) -> None:
    """Puts the predictions together, writes the tables and prints them."""
    predictions = {each.run: FoldPredictions.load(each.job_dir / PREDICTIONS_FILE) for each in runs}
    pooled = pool(
        tracks, runs[0].job.labels, {run: metrics.tracks(own.predictions) for run, own in predictions.items()}
    )
    found = ablation_table.results(
        rows,
        pooled,
        grouped=groups_of(manifest) == KEPT_APART,
        parameters={run.model: own.parameters for run, own in predictions.items()},
        seconds={row.name: _mean_seconds(predictions, row) for row in rows},
    )
    text = ablation_table.markdown(found)
    files.write_text(output / RESULTS_FILE, ablation_table.as_json(found))
    files.write_text(output / TABLE_FILE, text)
    print(f"\n{text}")


def _mean_seconds(predictions: Mapping[Run, FoldPredictions], row: Row) -> float | None:
    """Core seconds of a row's training, the mean of those that were done in one go; None if none was."""
    every = [own.core_seconds for run, own in predictions.items() if run.model == row.name]
    timed = [seconds for seconds in every if seconds is not None]
    return statistics.mean(timed) if timed else None


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
