"""Sections that the report of an evaluation and that of a cross-validation share, as HTML."""

import string
from collections.abc import Mapping, Sequence

from tfrecords.plots import Spectrogram, spectrogram_grid
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


def facts(values: Mapping[str, str], width: str = "half") -> str:
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
