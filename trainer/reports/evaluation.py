"""Sections that the report of an evaluation and that of a cross-validation share, as HTML.

The report of an evaluation: one HTML file that needs nothing else, and a table for the terminal.
"""

import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrecords.plots import Spectrogram, Style, printable, spectrogram_grid
from trainer.reports import page, plots

MOST_GENRES_ASIDE = 15  # With more, a table or a matrix of genres takes the whole width.

_HEADLINE = string.Template("""<section class="headline">
<div>
<div class="figure">$accuracy</div>
<p>$said</p>
</div>
<div class="gauge">
$scale
<div class="ends" aria-hidden="true"><span>0 %</span><span>100 %</span></div>
<ul class="key">
<li><i style="background:var(--accent)"></i>track accuracy $accuracy</li>
<li><i style="background:var(--band)"></i>95 % interval $low to $high</li>
<li><i style="background:var(--soft)"></i>chance $chance</li>
</ul>
</div>
$note
</section>""")


def headline(accuracy: float, interval: Sequence[float], *, chance: float, said: str, note: str) -> str:
    """The track accuracy in large type, on a scale with its 95 % interval [low, high] and chance; all shares of 1."""
    low, high = map(page.percent, interval)
    text = f"{page.percent(accuracy)}, 95 % interval {low} to {high}, chance {page.percent(chance)}"
    return _HEADLINE.substitute(
        accuracy=page.percent(accuracy),
        said=page.escape(said),
        scale=page.scale(accuracy, interval, mark=chance, text=text),
        low=low,
        high=high,
        chance=page.percent(chance),
        note=page.note(note),
    )


def fact_table(values: Mapping[str, str], width: str = "half") -> str:
    """What was measured and with what, in the order given."""
    body = "".join(
        f'<tr><th scope="row">{page.escape(name)}</th><td class="text">{page.escape(value)}</td></tr>\n'
        for name, value in values.items()
    )
    return page.section("What was measured", f'<table class="facts"><tbody>\n{body}</tbody></table>', width)


def confusion(
    matrix: Sequence[Sequence[int]], names: Sequence[str], *, title: str = "Confusion matrix", aside: str = "broad"
) -> str:
    """The matrix [labels true, labels predicted] of numbers of tracks; `aside` is its width while genres are few."""
    size = len(names)
    mistakes = [(matrix[true][given], true, given) for true in range(size) for given in range(size) if true != given]
    number, true, given = max(mistakes, default=(0, 0, 0), key=lambda mistake: mistake[0])
    said = f"Most often confused: {names[true]}, taken for {names[given]} ({page.count(number, 'track')})."
    said = said if number else "No genre was taken for another."
    picture = page.picture(
        lambda style: plots.confusion_matrix(matrix, names, style=style),
        f"Confusion matrix of {page.count(size, 'genre')}, true against predicted, in tracks. {said}",
        least_px=min(52 * size, 1000),
    )
    return page.section(title, picture + page.note(said), aside if size <= MOST_GENRES_ASIDE else "")


def spectrograms(samples: Sequence[Spectrogram]) -> str:
    """The picture of spectrograms side by side."""
    text = f"Log-mel spectrograms, seconds against mel bands: {'; '.join(sample.title for sample in samples)}"
    return page.picture(lambda style: spectrogram_grid(samples, style=style), text, 960)


def track_name(track_id: str, link: str | None) -> str:
    """The head of a track's row in a table; a link to its audio where there is one."""
    name = page.escape(track_id)
    name = f'<a href="{page.escape(link)}">{name}</a>' if link else name
    return f'<th scope="row" class="id">{name}</th>'


_MOST_WRONG_TRACKS = 50
_NOTE = (
    "A track is given the genre with the highest probability, averaged over its patches. The interval is Wilson's and "
    "takes the tracks as independent. Chance is always answering the most common genre of these tracks."
)


def write_report(
    path: Path,
    *,
    summary: Mapping[str, Any],
    history: Mapping[str, Sequence[float]] | None,
    samples: Sequence[Spectrogram],
    facts: Mapping[str, str],
    best_epoch: int = 0,
    training_data: bool = False,
    filters: Sequence[str] = (),
    audio_link: Callable[[str], str | None] = lambda track_id: None,
) -> None:
    """Writes one self-contained HTML page: no script, no request, pictures inside, for light and dark screens.

    Args:
      path: where to write; a file there is replaced at once by the finished page.
      summary: of `metrics.summarize`.
      history: one value per epoch of loss and accuracy, and of val_loss and val_accuracy where there was validation;
        None or empty leaves the curves out.
      samples: spectrograms to show; none leaves the section out.
      facts: what was measured and with what (model, data, seed, versions), shown in the order given.
      best_epoch: the epoch, from 1, whose model was scored, to be marked in the curves; 0 marks none.
      training_data: the tracks were trained or validated on, so that the page must not pass for a test.
      filters: sections about the model's filters (`filter_sections`).
      audio_link: track id -> URI of its audio, or None.

    Raises:
      UserError: the page cannot be written.
      ValueError: the history holds none of the four, or differing numbers of epochs.
    """
    sections = [
        _headline(summary, training_data),
        _accuracies(summary),
        fact_table(facts),
        _genres(summary),
        confusion(summary["confusion_matrix"], summary["label_names"]),
    ]
    if history:
        sections.append(_curves(history, best_epoch))
    sections += filters
    if samples:
        sections.append(page.section("Samples", spectrograms(samples)))
    sections.append(_wrong_tracks(summary["tracks_wrong"], audio_link))
    kind = "report on training data" if training_data else "test report"
    title = f"Genre recognition, {kind}: {page.percent(summary['track_accuracy_mean'])} of {summary['tracks']} tracks"
    page.write(path, title=title, heading=f"Music genre recognition: {kind}", sections=sections)


def text_table(summary: Mapping[str, Any]) -> str:
    """The scores of each genre's tracks by mean probability as aligned plain text, without a newline at the end.

    The columns are genre, tracks, accuracy (of one genre: its recall), precision, recall and F1; the last line holds
    the accuracy over all tracks and the macro F1, and below it stand those of the tracks whose artists are new, where
    they were told apart. A genre without tracks has a dash for what is then undefined.
    """
    head = ("genre", "tracks", "accuracy", "precision", "recall", "F1")
    rows = [head]
    for name, scores in summary["per_label"].items():
        known = scores["tracks"] > 0
        accuracy, recall = (page.percent(scores[key]) if known else "-" for key in ("accuracy", "recall"))
        values = (accuracy, page.percent(scores["precision"]), recall, f"{scores['f1']:.3f}")
        rows.append((printable(name), str(scores["tracks"]), *values))
    overall = page.percent(summary["track_accuracy_mean"])
    rows.append(("overall", str(summary["tracks"]), overall, "", "", f"{summary['macro_f1']:.3f}"))
    for entry in _new_groups(summary):
        accuracy = page.percent(entry["track_accuracy_mean"])
        rows.append((_new_to(entry), str(entry["tracks"]), accuracy, "", "", f"{entry['macro_f1']:.3f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    rule = "  ".join("-" * width for width in widths)
    genres = 1 + len(summary["per_label"])
    return "\n".join([lines[0], rule, *lines[1:genres], rule, *lines[genres:]])


def _new_groups(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Scores without the tracks of artists that training has met, where there are any (`scores_of_new_groups`)."""
    return [entry for entry in summary.get("new_groups") or () if entry["tracks"]]


def _new_to(entry: Mapping[str, Any]) -> str:
    return f"artists new to {entry['new_to']}"


def _headline(summary: Mapping[str, Any], training_data: bool) -> str:
    recognised = f"of {summary['tracks']} test tracks recognised"
    if training_data:
        recognised = f"of {summary['tracks']} tracks recognised, training data: no score for new music"
    return headline(
        summary["track_accuracy_mean"],
        summary["track_accuracy_mean_interval"],
        chance=summary["chance"],
        said=recognised,
        note=_NOTE,
    )


def _accuracies(summary: Mapping[str, Any]) -> str:
    rows = []
    for name, way in (("mean probability", "mean"), ("majority vote", "vote")):
        low, high = summary[f"track_accuracy_{way}_interval"]
        accuracy, limits = page.percent(summary[f"track_accuracy_{way}"]), page.percent_range(low, high)
        rows.append(page.row(f"Tracks, {name}", accuracy, limits, str(summary["tracks"])))
    for entry in _new_groups(summary):
        accuracy, limits = entry["track_accuracy_mean"], page.percent_range(*entry["track_accuracy_mean_interval"])
        rows.append(page.row(f"Tracks, {_new_to(entry)}", page.percent(accuracy), limits, str(entry["tracks"])))
    rows.append(page.row("Patches", page.percent(summary["patch_accuracy"]), "\N{EN DASH}", str(summary["patches"])))
    table = page.table(("Counted", "Accuracy", "95 % interval", "Number"), "".join(rows))
    note = f"Macro F1 {summary['macro_f1']:.3f}. Patches of one track are alike, so they have no interval of their own."
    return page.section("Accuracy", f"{table}{page.note(note)}", "half")


def _genres(summary: Mapping[str, Any]) -> str:
    rows = []
    for name, scores in summary["per_label"].items():
        recall = page.percent(scores["recall"]) if scores["tracks"] else "\N{EN DASH}"
        width = page.css_percent(scores["f1"])
        bar = f'<td class="bar" aria-hidden="true"><span><i style="width:{width}%"></i></span></td>'
        values = (str(scores["tracks"]), page.percent(scores["precision"]), recall, f"{scores['f1']:.3f}")
        rows.append(page.row(name, *values, last=bar))
    head = ("Genre", "Tracks", "Precision", "Recall", "F1")
    table = page.table(head, "".join(rows), last='<td class="bar" aria-hidden="true"></td>')
    note = (
        "Precision: how many of the tracks given this genre are of it. Recall: how many of its tracks were recognised. "
        "F1: their harmonic mean, also the length of the bar. By mean probability."
    )
    return page.section("Genres", f"{table}{page.note(note)}", "narrow" if len(rows) <= MOST_GENRES_ASIDE else "")


def _curves(history: Mapping[str, Sequence[float]], best_epoch: int) -> str:
    epochs = page.count(max(map(len, history.values())), "epoch")
    said = f"{epochs}; epoch {best_epoch} was the best on the validation tracks." if best_epoch else f"{epochs}."
    text = f"Learning curves: loss and accuracy over {said}"

    def draw(style: Style) -> bytes:
        return plots.learning_curves(history, best_epoch=best_epoch, style=style)

    alone = not {"val_loss", "val_accuracy"} & set(history)
    note = page.note("There was no validation: these are the curves of training, on its own batches.") if alone else ""
    return page.section("Learning curves", page.picture(draw, text, 760) + note)


def _wrong_tracks(wrong: Sequence[Mapping[str, Any]], audio_link: Callable[[str], str | None]) -> str:
    if not wrong:
        return page.section("Wrong tracks", "<p>None: every track was recognised.</p>")
    body = "".join(
        f"<tr>{track_name(track['track_id'], audio_link(track['track_id']))}"
        f'<td class="text">{page.escape(track["label"])}</td><td class="text">{page.escape(track["predicted"])}</td>'
        f"<td>{page.percent(track['probability'])}</td></tr>\n"
        for track in wrong[:_MOST_WRONG_TRACKS]
    )
    head = "".join(f'<th scope="col" class="text">{name}</th>' for name in ("Track", "True", "Predicted"))
    head = f'<tr>{head}<th scope="col">Probability</th></tr>'
    table = page.scroll(f"<table><thead>{head}</thead><tbody>\n{body}</tbody></table>", "Wrong tracks")
    rest = len(wrong) - _MOST_WRONG_TRACKS
    note = f" {rest} more {'is' if rest == 1 else 'are'} not shown." if rest > 0 else ""
    said = f"{page.count(len(wrong), 'track')} in all, the most confident mistake first.{note}"
    return page.section("Wrong tracks", f"{table}{page.note(said)}")
