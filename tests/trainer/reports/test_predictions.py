import numpy as np
import pytest

from trainer.reports import predictions

FOUND = {
    "named": {"<jazz>": 3, "rock": 5},
    "mean_probability": {"<jazz>": 0.61, "rock": 0.8},
    "confidence": {"<jazz>": [0] * 12 + [3] + [0] * 7, "rock": [0] * 16 + [5] + [0] * 3},
    "notes": {"silent": 2},
    "rejects": {"too_short": 1, "undecodable": 4},
    "audio_s": 7200.0,
    "model": "black_box",
    "model_fingerprint": "abcdef" * 10,
    "embedding": False,
}


def test_genres_confidence_and_rejects_are_shown(parse_page):
    page = parse_page(predictions.render(FOUND))
    for text in ("<jazz>", "62.5 %", "80.0 %", "undecodable", "2.0 hours", "abcdefabcdef"):
        assert text in page.text
    assert len(page.all("img")) == 2
    assert page.text.index("rock") < page.text.index("<jazz>")


def test_a_collection_of_silence(parse_page):
    nothing = FOUND | {"named": {}, "mean_probability": {}, "confidence": {}, "rejects": {}}
    page = parse_page(predictions.render(nothing))
    assert page.all("img") == []
    assert "Nothing: every file could be heard" in page.text


@pytest.mark.parametrize("genres", [1, 40])
def test_a_chart_of_few_and_many_genres(genres):
    png = predictions.genres_chart([(f"genre $ {number} " * 4, number) for number in range(genres)])
    assert png.startswith(b"\x89PNG")
    assert predictions.confidence_histogram(np.arange(20)).startswith(b"\x89PNG")
