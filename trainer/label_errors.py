"""Find the tracks of a dataset whose label is most likely wrong, to listen to and to correct.

python -m trainer.label_errors --job_dir=CV [--model=NAME] [--output_dir=DIR] [--audio_dir=DIR]

CV is what trainer.cross_validate has left: it has judged every track by models that never saw it. Suspects are the
tracks that are given unusually little of their own label, as many as the model names another way more surely than it
usually names that genre's own tracks (confident learning: Northcutt et al. 2021). Where artists or other groups are
known, the labels of a group's other tracks count as well. DIR, by default CV itself, then holds

  label_errors.html   the suspects of each label, the most likely error first, with links to hear them
  tracks.csv          all tracks with their labels, suspects first and what they may be in the column suggested: correct
                      the column genre, and preprocess again with --input=DIR/tracks.csv

The better the model, the better the list: with a weak one most suspects are merely hard. Listen before you correct.
"""

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

from absl import flags

from tfrecords.common import command_line, files
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import encodable, printable
from trainer import job_store, training_job
from trainer.evaluation.cross_validation import POOLED_FILE, load_results
from trainer.evaluation.label_errors import LabelErrors, find_label_errors
from trainer.evaluation.pooling import PooledPredictions
from trainer.reports import page
from trainer.reports.formatting import count
from trainer.reports.page import AudioLinks
from trainer.reports.tables import Table

PAGE_FILE, TRACKS_FILE = "label_errors.html", "tracks.csv"
_SHOWN = 20
_COLUMNS = ("path", "genre", "group", "suggested", "suspect", "probability", "probability_suggested")

FLAGS = flags.FlagValues()
flags.DEFINE_string("job_dir", "", "directory of a finished cross-validation", flag_values=FLAGS)
flags.DEFINE_string("model", None, "which of its models judges; by default the most accurate", flag_values=FLAGS)
flags.DEFINE_string("output_dir", None, "where to write; by default the cross-validation's", flag_values=FLAGS)
flags.DEFINE_string(
    "audio_dir",
    None,
    "directory of the tracks' audio, for links; by default where preprocessing found it",
    flag_values=FLAGS,
)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Judge all labels, write the page and the CSV, and print the likeliest errors."""
    command_line.no_arguments(positional)
    if not flag_values.job_dir:
        raise UserError("--job_dir=CV is needed (see --help)")
    job_store.check_local(flag_values.job_dir, flag_values.output_dir)
    cv_dir = Path(flag_values.job_dir)
    output_dir = Path(flag_values.output_dir or cv_dir)
    data = load_results(cv_dir)["data"]
    pooled = PooledPredictions.load(cv_dir / POOLED_FILE)
    number = _choose_model(pooled, flag_values.model)
    found = find_label_errors(pooled.over_seeds[number], pooled.labels, pooled.groups if data["grouped"] else None)
    links = AudioLinks(data.get("data_dir", ""), flag_values.audio_dir)
    tracks = rows(pooled, found, number)
    training_job.make_dir(output_dir, "output_dir")
    with training_job.lock_job_dir(output_dir, leftovers_after_s=3600):
        files.write_text(output_dir / TRACKS_FILE, as_csv(tracks, links, grouped=data["grouped"]))
        files.write_text(output_dir / PAGE_FILE, render(tracks, pooled.models[number], data, links))
    print(describe(tracks, pooled.models[number]))
    print(f"\npage: {output_dir / PAGE_FILE}\nto correct: {output_dir / TRACKS_FILE}")


def rows(pooled: PooledPredictions, found: LabelErrors, model: int) -> list[dict[str, Any]]:
    """Return a row for each track, the likeliest error first.

    Args:
      pooled: the predictions of a cross-validation.
      found: what was found of one of its models.
      model: the number of that model.

    Returns:
      [{track_id, genre, group, suggested, suspect, probability, probability_suggested}]; suspect is a bool, the
      probabilities are those of the label that the track has and of the suggested one.
    """
    probabilities = pooled.over_seeds[model]
    return [
        {
            "track_id": pooled.track_ids[track],
            "genre": pooled.label_names[pooled.labels[track]],
            "group": pooled.groups[track],
            "suggested": pooled.label_names[found.suggested[track]],
            "suspect": bool(found.is_suspect[track]),
            "probability": float(probabilities[track, pooled.labels[track]]),
            "probability_suggested": float(probabilities[track, found.suggested[track]]),
        }
        for track in found.order
    ]


def as_csv(tracks: list[dict[str, Any]], links: AudioLinks, *, grouped: bool) -> str:
    """Return the rows as a CSV that the preprocessing job reads; only suspects have a suggestion.

    Paths are absolute where the tracks' folder is known.

    Args:
      tracks: of `rows`.
      links: to the tracks' audio.
      grouped: whether the groups are the artists or other groups of the dataset; they are left out if not.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [name for name in _COLUMNS if grouped or name != "group"], extrasaction="ignore")
    writer.writeheader()
    for row in tracks:
        writer.writerow(
            row
            | {
                "path": (links.folder / row["track_id"]).absolute() if links.folder else row["track_id"],
                "suggested": row["suggested"] if row["suspect"] else "",
                "suspect": "yes" if row["suspect"] else "no",
                "probability": f"{row['probability']:.4f}",
                "probability_suggested": f"{row['probability_suggested']:.4f}",
            }
        )
    return encodable(text.getvalue())


def render(tracks: list[dict[str, Any]], model: str, data: dict[str, Any], links: AudioLinks) -> str:
    """Return the page of the suspects as HTML.

    Args:
      tracks: of `rows`.
      model: the name of the model that judged.
      data: `data` of the cross-validation's results.
      links: to the tracks' audio.
    """
    suspects = [row for row in tracks if row["suspect"]]
    of_label = Counter(row["genre"] for row in tracks)
    return page.render(
        "label_errors.html",
        title=f"Labels that may be wrong in {data['name']}",
        heading=f"Labels of {data['name']} that may be wrong",
        model=model,
        suspects={
            label: own for label in sorted(of_label) if (own := [row for row in suspects if row["genre"] == label])
        },
        tracks_of_label=of_label,
        num_tracks=len(tracks),
        num_suspects=len(suspects),
        grouped=data["grouped"],
        audio_link=links,
    )


def describe(tracks: list[dict[str, Any]], model: str) -> str:
    """Return the likeliest errors as a table of text, below a line that counts them."""
    suspects = [row for row in tracks if row["suspect"]]
    head = f"{count(len(suspects), 'label')} of {len(tracks)} may be wrong, by {model}"
    shown = [
        (
            printable(row["track_id"]),
            printable(row["genre"]),
            printable(row["suggested"]),
            f"{row['probability']:.2f}",
            f"{row['probability_suggested']:.2f}",
        )
        for row in suspects[:_SHOWN]
    ]
    if not shown:
        return head
    more = f"\n... and {len(suspects) - _SHOWN} more" if len(suspects) > _SHOWN else ""
    return f"{head}\n{Table(('track', 'label', 'may be', 'probability', 'of that'), shown).text()}{more}"


def _choose_model(pooled: PooledPredictions, name: str | None) -> int:
    if name is None:
        return int((pooled.over_seeds.argmax(axis=2) == pooled.labels).mean(axis=1).argmax())
    if name not in pooled.models:
        raise UserError(f"--model must be one of the cross-validation's, {', '.join(pooled.models)}; got {name!r}")
    return pooled.models.index(name)


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
