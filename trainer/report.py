"""The report of an evaluation: one HTML file that needs nothing else, and a table for the terminal."""

import base64
import html
import string
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrecords.plots import DARK, LIGHT, PIXELS_PER_INCH, Spectrogram, Style, printable, spectrogram_grid
from trainer import plots
from trainer.training_job import write_text

_MOST_WRONG_TRACKS = 50
_MOST_GENRES_ASIDE = 15  # With more, table and matrix stand one above the other.

_CSS = """
:root {
  color-scheme: light dark;
  --page: #f3f5f8; --paper: #ffffff; --ink: #1c2430; --soft: #566173; --line: #dde2e9; --accent: #0067a8;
  --band: #9ecbec; --bar: #5b9bd8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1217; --paper: #171c24; --ink: #e4e9f0; --soft: #9ba7b8; --line: #2b3442; --accent: #6cbcf2;
    --band: #24557f; --bar: #3b80c4;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 3rem; max-width: 75rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif;
}
h1 { margin: 0 0 1.25rem; font-size: 1.5rem; line-height: 1.25; letter-spacing: -.01em; }
h2 { margin: 0 0 .9rem; font-size: 1.1rem; line-height: 1.3; }
p { margin: .75rem 0 0; }
main { display: grid; grid-template-columns: repeat(12, minmax(0, 1fr)); gap: 1.25rem; align-items: start; }
section {
  grid-column: 1 / -1; min-width: 0; padding: 1.4rem 1.6rem 1.5rem; background: var(--paper);
  border: 1px solid var(--line); border-radius: .75rem;
}
.note { color: var(--soft); font-size: .875rem; max-width: 46rem; }
.headline { display: flex; flex-wrap: wrap; gap: 1rem 3rem; align-items: center; }
.figure { font-size: 4rem; font-weight: 700; line-height: 1; letter-spacing: -.03em; color: var(--accent); }
.headline p { margin: .5rem 0 0; }
.headline .gauge { flex: 1 1 20rem; min-width: 0; }
.scale { position: relative; height: .85rem; border-radius: .5rem; background: var(--line); }
.scale i { position: absolute; top: 0; bottom: 0; display: block; }
.scale .interval { background: var(--band); border-radius: .2rem; }
.scale .point { width: .3rem; margin-left: -.15rem; top: -.35rem; bottom: -.35rem; background: var(--accent);
  border-radius: .15rem; }
.scale .chance { width: .15rem; margin-left: -.075rem; top: -.2rem; bottom: -.2rem; background: var(--soft); }
.ends { display: flex; justify-content: space-between; margin-top: .35rem; color: var(--soft); font-size: .8rem; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .5rem 0 0; padding: 0; list-style: none;
  color: var(--soft); font-size: .875rem; }
.key li { white-space: nowrap; }
.key i { display: inline-block; width: .7rem; height: .7rem; margin-right: .4rem; border-radius: .15rem; }
.scroll { overflow-x: auto; margin: 0 -.4rem; padding: 0 .4rem; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: .25rem; }
table { width: 100%; border-collapse: collapse; font-size: .9375rem; font-variant-numeric: tabular-nums; }
th, td { padding: .42rem .6rem; text-align: right; vertical-align: baseline; border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
th:first-child, td:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-size: .8125rem; font-weight: 600; white-space: nowrap; }
th[scope=row], .text { text-align: left; white-space: normal; overflow-wrap: break-word; }
.id, .facts td { overflow-wrap: anywhere; }
th[scope=row] { font-weight: 500; }
.id { font: .8125rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.facts th { width: 32%; color: var(--soft); }
.bar { width: 24%; }
.bar i { display: block; height: .6rem; border-radius: .3rem; background: var(--bar); }
.bar span { display: block; border-radius: .3rem; background: var(--line); }
picture, img { display: block; }
img { max-width: 100%; height: auto; margin: 0 auto; }
@media (min-width: 64rem) {
  .half { grid-column: span 6; }
  .narrow { grid-column: span 5; }
  .broad { grid-column: span 7; }
}
@media (max-width: 36rem) {
  body { padding: 1.25rem .6rem 2rem; }
  h1 { margin-left: .4rem; }
  section { padding: 1.1rem 1rem 1.2rem; }
  .figure { font-size: 3.25rem; }
  table { font-size: .875rem; }
  th, td { padding-left: .3rem; padding-right: .3rem; }
  .bar { display: none; }
}
"""

# The policy makes sure of what the page promises: nothing is fetched, nothing runs.
_PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>Genre recognition, $kind: $accuracy of $tracks tracks</title>
<style>$css</style>
</head>
<body>
<h1>Music genre recognition: $kind</h1>
<main>
$sections
</main>
</body>
</html>
""")

_HEADLINE = string.Template("""<section class="headline">
<div>
<div class="figure">$accuracy</div>
<p>$recognised</p>
</div>
<div class="gauge">
<div class="scale" role="img" aria-label="$accuracy, 95 % interval $low to $high, chance $chance">
<i class="interval" style="left:$low_at%;width:$width%"></i>
<i class="chance" style="left:$chance_at%"></i>
<i class="point" style="left:$accuracy_at%"></i>
</div>
<div class="ends" aria-hidden="true"><span>0 %</span><span>100 %</span></div>
<ul class="key">
<li><i style="background:var(--accent)"></i>track accuracy $accuracy</li>
<li><i style="background:var(--band)"></i>95 % interval $low to $high</li>
<li><i style="background:var(--soft)"></i>chance $chance</li>
</ul>
</div>
<p class="note">A track is given the genre with the highest probability, averaged over its patches. The interval is
Wilson's and takes the tracks as independent. Chance is always answering the most common genre of these tracks.</p>
</section>""")


def write_report(
    path: Path,
    *,
    summary: Mapping[str, Any],
    history: Mapping[str, Sequence[float]] | None,
    samples: Sequence[Spectrogram],
    facts: Mapping[str, str],
    best_epoch: int = 0,
    training_data: bool = False,
) -> None:
    """Writes one self-contained HTML page: no script, no request, pictures inside, for light and dark screens.

    Args:
      path: where to write; a file there is replaced at once by the finished page.
      summary: of `metrics.summarize`.
      history: one value per epoch of loss, val_loss, accuracy, val_accuracy; None or empty leaves the curves out.
      samples: spectrograms to show; none leaves the section out.
      facts: what was measured and with what (model, data, seed, versions), shown in the order given.
      best_epoch: the epoch, from 1, whose model was scored, to be marked in the curves; 0 marks none.
      training_data: the tracks were trained or validated on, so that the page must not pass for a test.

    Raises:
      UserError: the page cannot be written.
      ValueError: the history holds none of the four, or differing numbers of epochs.
    """
    sections = [
        _headline(summary, training_data),
        _accuracies(summary),
        _facts(facts),
        _genres(summary),
        _confusion(summary),
    ]
    if history:
        sections.append(_curves(history, best_epoch))
    if samples:
        sections.append(_samples(samples))
    sections.append(_wrong_tracks(summary["tracks_wrong"]))
    accuracy = _percent(summary["track_accuracy_mean"])
    kind = "report on training data" if training_data else "test report"
    text = "\n".join(sections)
    write_text(path, _PAGE.substitute(kind=kind, accuracy=accuracy, tracks=summary["tracks"], css=_CSS, sections=text))


def text_table(summary: Mapping[str, Any]) -> str:
    """The scores of each genre's tracks by mean probability as aligned plain text, without a newline at the end.

    The columns are genre, tracks, accuracy (of one genre: its recall), precision, recall and F1; the last line holds
    the accuracy over all tracks and the macro F1. A genre without tracks has a dash for what is then undefined.
    """
    head = ("genre", "tracks", "accuracy", "precision", "recall", "F1")
    rows = [head]
    for name, scores in summary["per_label"].items():
        known = scores["tracks"] > 0
        accuracy, recall = (_percent(scores[key]) if known else "-" for key in ("accuracy", "recall"))
        values = (accuracy, _percent(scores["precision"]), recall, f"{scores['f1']:.3f}")
        rows.append((printable(name), str(scores["tracks"]), *values))
    overall = _percent(summary["track_accuracy_mean"])
    rows.append(("overall", str(summary["tracks"]), overall, "", "", f"{summary['macro_f1']:.3f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _headline(summary: Mapping[str, Any], training_data: bool) -> str:
    recognised = f"of {summary['tracks']} test tracks recognised"
    if training_data:
        recognised = f"of {summary['tracks']} tracks recognised, training data: no score for new music"
    accuracy, (low, high) = summary["track_accuracy_mean"], summary["track_accuracy_mean_interval"]
    return _HEADLINE.substitute(
        recognised=recognised,
        accuracy=_percent(accuracy),
        low=_percent(low),
        high=_percent(high),
        chance=_percent(summary["chance"]),
        accuracy_at=_css_percent(accuracy),
        low_at=_css_percent(low),
        width=_css_percent(high - low),
        chance_at=_css_percent(summary["chance"]),
    )


def _accuracies(summary: Mapping[str, Any]) -> str:
    rows = []
    for name, way in (("mean probability", "mean"), ("majority vote", "vote")):
        low, high = summary[f"track_accuracy_{way}_interval"]
        accuracy, limits = _percent(summary[f"track_accuracy_{way}"]), f"{100 * low:.1f}\N{EN DASH}{_percent(high)}"
        rows.append(_row(f"Tracks, {name}", accuracy, limits, str(summary["tracks"])))
    rows.append(_row("Patches", _percent(summary["patch_accuracy"]), "\N{EN DASH}", str(summary["patches"])))
    table = _table(("Counted", "Accuracy", "95 % interval", "Number"), "".join(rows))
    note = f"Macro F1 {summary['macro_f1']:.3f}. Patches of one track are alike, so they have no interval of their own."
    return _section("Accuracy", f'{table}<p class="note">{note}</p>', "half")


def _facts(facts: Mapping[str, str]) -> str:
    body = "".join(
        f'<tr><th scope="row">{_escape(name)}</th><td class="text">{_escape(value)}</td></tr>\n'
        for name, value in facts.items()
    )
    return _section("What was measured", f'<table class="facts"><tbody>\n{body}</tbody></table>', "half")


def _genres(summary: Mapping[str, Any]) -> str:
    rows = []
    for name, scores in summary["per_label"].items():
        recall = _percent(scores["recall"]) if scores["tracks"] else "\N{EN DASH}"
        bar = (
            f'<td class="bar" aria-hidden="true"><span><i style="width:{_css_percent(scores["f1"])}%"></i></span></td>'
        )
        values = (str(scores["tracks"]), _percent(scores["precision"]), recall, f"{scores['f1']:.3f}")
        rows.append(_row(name, *values, last=bar))
    head = ("Genre", "Tracks", "Precision", "Recall", "F1")
    table = _table(head, "".join(rows), last='<td class="bar" aria-hidden="true"></td>')
    note = (
        "Precision: how many of the tracks given this genre are of it. Recall: how many of its tracks were recognised. "
        "F1: their harmonic mean, also the length of the bar. By mean probability."
    )
    return _section("Genres", f'{table}<p class="note">{note}</p>', "narrow" if len(rows) <= _MOST_GENRES_ASIDE else "")


def _confusion(summary: Mapping[str, Any]) -> str:
    matrix, names = summary["confusion_matrix"], summary["label_names"]
    size = len(names)
    mistakes = [(matrix[true][given], true, given) for true in range(size) for given in range(size) if true != given]
    count, true, given = max(mistakes, default=(0, 0, 0), key=lambda mistake: mistake[0])
    said = f"Most often confused: {names[true]}, taken for {names[given]} ({_count(count, 'track')})."
    said = said if count else "No genre was taken for another."
    picture = _picture(
        lambda style: plots.confusion_matrix(matrix, names, style=style),
        f"Confusion matrix of {_count(size, 'genre')}, true against predicted, in tracks. {said}",
        least_px=min(52 * size, 1000),
    )
    title = "Confusion matrix"
    return _section(
        title, f'{picture}<p class="note">{_escape(said)}</p>', "broad" if size <= _MOST_GENRES_ASIDE else ""
    )


def _curves(history: Mapping[str, Sequence[float]], best_epoch: int) -> str:
    epochs = _count(max(map(len, history.values())), "epoch")
    said = f"{epochs}; epoch {best_epoch} was the best on the validation tracks." if best_epoch else f"{epochs}."
    text = f"Learning curves: loss and accuracy over {said}"

    def draw(style: Style) -> bytes:
        return plots.learning_curves(history, best_epoch=best_epoch, style=style)

    return _section("Learning curves", _picture(draw, text, 760))


def _samples(samples: Sequence[Spectrogram]) -> str:
    text = f"Log-mel spectrograms, seconds against mel bands: {'; '.join(sample.title for sample in samples)}"
    return _section("Samples", _picture(lambda style: spectrogram_grid(samples, style=style), text, 960))


def _wrong_tracks(wrong: Sequence[Mapping[str, Any]]) -> str:
    if not wrong:
        return _section("Wrong tracks", "<p>None: every track was recognised.</p>")
    body = "".join(
        f'<tr><th scope="row" class="id">{_escape(track["track_id"])}</th>'
        f'<td class="text">{_escape(track["label"])}</td><td class="text">{_escape(track["predicted"])}</td>'
        f"<td>{_percent(track['probability'])}</td></tr>\n"
        for track in wrong[:_MOST_WRONG_TRACKS]
    )
    head = "".join(f'<th scope="col" class="text">{name}</th>' for name in ("Track", "True", "Predicted"))
    head = f'<tr>{head}<th scope="col">Probability</th></tr>'
    table = _scroll(f"<table><thead>{head}</thead><tbody>\n{body}</tbody></table>", "Wrong tracks")
    rest = len(wrong) - _MOST_WRONG_TRACKS
    note = f" {rest} more {'is' if rest == 1 else 'are'} not shown." if rest > 0 else ""
    said = f"{_count(len(wrong), 'track')} in all, the most confident mistake first.{note}"
    return _section("Wrong tracks", f'{table}<p class="note">{said}</p>')


def _section(title: str, content: str, width: str = "") -> str:
    return f'<section class="{width}">\n<h2>{title}</h2>\n{content}\n</section>'


def _scroll(content: str, name: str) -> str:
    # Reachable by keyboard, as what does not fit is seen only by scrolling.
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{content}</div>'


def _table(columns: Sequence[str], body: str, last: str = "") -> str:
    first, *others = columns
    head = "".join(f'<th scope="col">{name}</th>' for name in others)
    head = f'<tr><th scope="col" class="text">{first}</th>{head}{last}</tr>'
    return _scroll(f"<table><thead>{head}</thead><tbody>\n{body}</tbody></table>", first)


def _row(name: str, *values: str, last: str = "") -> str:
    cells = "".join(f"<td>{_escape(value)}</td>" for value in values)
    return f'<tr><th scope="row">{_escape(name)}</th>{cells}{last}</tr>\n'


def _picture(draw: Callable[[Style], bytes], text: str, least_px: int) -> str:
    """The picture for light and dark; on a narrow screen it shrinks to least_px wide, and scrolls from there on."""
    light, dark = draw(LIGHT), draw(DARK)
    width, height = (round(pixels * 96 / PIXELS_PER_INCH) for pixels in struct.unpack(">II", light[16:24]))
    size = f'width="{width}" height="{height}" style="min-width:{min(width, least_px)}px"'
    picture = (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{_data_uri(dark)}">'
        f'<img src="{_data_uri(light)}" {size} alt="{_escape(text)}"></picture>'
    )
    return _scroll(picture, "Picture")


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _escape(text: str) -> str:
    return html.escape(printable(text))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _css_percent(share: float) -> str:
    return f"{100 * share:.2f}"
