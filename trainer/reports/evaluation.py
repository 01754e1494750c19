"""The page of an evaluation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfrecords.plots import Spectrogram, spectrogram_grid
from trainer.evaluation.metrics import BOOTSTRAP, WILSON, Scores
from trainer.evaluation.summary import Summary
from trainer.reports import page, plots, tables
from trainer.reports.formatting import count, percent
from trainer.reports.page import Figure, Picture

MOST_GENRES_ASIDE = 15  # With more, a table or a matrix of genres takes the whole width.
_MOST_WRONG_TRACKS = 50


def render(
    summary: Summary,
    *,
    facts: Mapping[str, str],
    history: Mapping[str, Sequence[float]] | None = None,
    best_epoch: int = 0,
    samples: Sequence[Spectrogram] = (),
    filters: Sequence[Figure] = (),
    audio_link: Callable[[str], str | None] = lambda track_id: None,
) -> str:
    """Return the page of an evaluation as HTML.

    Args:
      summary: the scores.
      facts: what was measured and with what (model, data, seed, versions), in the order shown.
      history: one value per epoch of loss and accuracy, and of val_loss and val_accuracy where there was validation;
        None or empty leaves the curves out.
      best_epoch: the epoch, from 1, whose model was scored, to be marked in the curves; 0 marks none.
      samples: spectrograms to show.
      filters: what the model's filters have learned (`filter_plots.filter_figures`).
      audio_link: track id -> URI of its audio, or None.

    Raises:
      ValueError: the history holds none of the four, or differing numbers of epochs.
    """
    scores = summary.scores
    kind = "report on training data" if summary.seen_in_training else "test report"
    seen = f"of {scores.tracks} tracks recognised, training data: no score for new music"
    return page.render(
        "evaluation.html",
        title=f"Genre recognition, {kind}: {percent(scores.track_accuracy_mean)} of {scores.tracks} tracks",
        heading=f"Music genre recognition: {kind}",
        scores=scores,
        description=seen if summary.seen_in_training else f"of {scores.tracks} test tracks recognised",
        about_interval=_describe_intervals(summary),
        new_groups=summary.scores_of_new_groups,
        facts=facts,
        few_genres=len(scores.label_names) <= MOST_GENRES_ASIDE,
        confusion=confusion(scores.confusion_matrix, scores.label_names),
        figures=[
            *([reliability(summary.calibration)] if summary.calibration else []),
            *([_curves(history, best_epoch)] if history else []),
            *filters,
            *([Figure("Samples", spectrograms(samples))] if samples else []),
        ],
        wrong_tracks=scores.tracks_wrong[:_MOST_WRONG_TRACKS],
        audio_link=audio_link,
    )


def confusion(matrix: Sequence[Sequence[int]], names: Sequence[str], *, title: str = "Confusion matrix") -> Figure:
    """Draw a confusion matrix [labels true, labels predicted] of numbers of tracks, and name the worst confusion."""
    size = len(names)
    mistakes = [(matrix[true][other], true, other) for true in range(size) for other in range(size) if true != other]
    number, true, other = max(mistakes, default=(0, 0, 0), key=lambda mistake: mistake[0])
    note = f"Most often confused: {names[true]}, taken for {names[other]} ({count(number, 'track')})."
    note = note if number else "No genre was taken for another."
    picture = page.picture(
        lambda style: plots.confusion_matrix(matrix, names, style=style),
        f"Confusion matrix of {count(size, 'genre')}, true against predicted, in tracks. {note}",
        least_px=min(52 * size, 1000),
    )
    return Figure(title, picture, note)


def reliability(found: Mapping[str, Any], *, title: str = "Confidence") -> Figure:
    """Draw how often answers are right against how probable they were said to be.

    Args:
      found: of `trainer.evaluation.reliability.assess`.
      title: of the section.
    """
    note = tables.calibration(found)
    return Figure(
        title,
        page.picture(lambda style: plots.reliability(found, style=style), f"Reliability diagram. {note}", 420),
        f"Each point is a range of tracks, as many in each, with a 95 % interval. {note}",
    )


def spectrograms(samples: Sequence[Spectrogram]) -> Picture:
    """Draw spectrograms side by side."""
    text = f"Log-mel spectrograms, seconds against mel bands: {'; '.join(sample.title for sample in samples)}"
    return page.picture(lambda style: spectrogram_grid(samples, style=style), text, 960)


def _describe_intervals(summary: Summary) -> str:
    """Of the headline, and of scores of new groups where theirs is another."""
    method = summary.scores.interval_method
    others = [(new_to, new) for new_to, new in summary.scores_of_new_groups if new.interval_method != method]
    return " ".join(
        [
            f"The interval is {_describe_interval(summary.scores)}.",
            *(f"For artists new to {new_to} it is {_describe_interval(new)}." for new_to, new in others),
        ]
    )


def _describe_interval(scores: Scores) -> str:
    if scores.interval_method == WILSON:
        return "Wilson's and takes the tracks as independent, as their artists are not known"
    groups = f"the {count(scores.num_groups or 0, 'group')} of tracks that belong together (of one artist, say)"
    if scores.interval_method == BOOTSTRAP:
        return f"a bootstrap over {groups}"
    return f"Wilson's with {groups} as its trials: too few, or too alike, for a bootstrap"


def _curves(history: Mapping[str, Sequence[float]], best_epoch: int) -> Figure:
    epochs = count(max(map(len, history.values())), "epoch")
    best = f"; epoch {best_epoch} was the best on the validation tracks" if best_epoch else ""
    picture = page.picture(
        lambda style: plots.learning_curves(history, best_epoch=best_epoch, style=style),
        f"Learning curves: loss and accuracy over {epochs}{best}.",
        760,
    )
    validated = {"val_loss", "val_accuracy"} & set(history)
    note = "" if validated else "There was no validation: these are the curves of training, on its own batches."
    return Figure("Learning curves", picture, note)
