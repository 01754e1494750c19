import importlib.util
import re

import numpy as np
import pytest
import soundfile

from tools import planted_similar


def test_a_collection_is_filled_up_with_synthetic_clips(make_music, tmp_path):
    music = make_music(tmp_path / "music")
    real, clips = planted_similar.make_collection(tmp_path, [str(music)], clips=15, seconds=3)
    assert len(real) == 12 and clips[:12] == real and len(set(clips)) == 15
    assert (tmp_path / "clips.csv").read_text().splitlines() == ["path", *map(str, clips)]
    real, clips = planted_similar.make_collection(tmp_path, [str(music)], clips=5, seconds=3)
    assert len(real) == len(clips) == 5


def test_copies_are_of_other_codecs_and_gains(tmp_path):
    clips = [tmp_path / f"{number}.wav" for number in range(6)]
    for number, path in enumerate(clips):
        soundfile.write(path, 0.9 * np.sin(0.05 * (number + 1) * np.arange(8 * 22050)), 22050)
    originals = planted_similar.write_copies(tmp_path, clips, copies=6, seed=0)
    assert list(originals) == ["from the start", "from up to 5 s"]
    copies = sorted((tmp_path / "copies" / "from the start").iterdir())
    assert [path.suffix for path in copies] == [".mp3", ".ogg", ".m4a"] * 2
    for copy, original in list(zip(copies, originals["from the start"], strict=True))[:2]:
        (samples, rate), exact = soundfile.read(copy), soundfile.read(original)[0]
        assert len(samples) / rate == pytest.approx(8, abs=0.1)
        assert 0.25 < samples.std() / exact.std() < 1.05
    # Made once.
    times = [copy.stat().st_mtime_ns for copy in copies]
    assert planted_similar.write_copies(tmp_path, clips, copies=6, seed=1) == originals
    assert [copy.stat().st_mtime_ns for copy in copies] == times


@pytest.mark.parametrize("way", planted_similar.WAYS)
def test_every_way_finds_a_vector_again(way):
    vectors = np.random.default_rng(0).normal(5, [1, 2, 3, 4], (50, 4))
    transform = planted_similar.WAYS[way](vectors)
    changed = transform(vectors)
    assert changed.shape == (50, 4)
    products = planted_similar._unit_length(transform(vectors[7:8])) @ planted_similar._unit_length(changed).T
    assert products.argmax() == 7
    if way == "cosine, whitened":
        np.testing.assert_allclose(np.cov(changed, rowvar=False), np.eye(4), atol=1e-6)


def test_a_search_is_timed():
    assert all(seconds > 0 for seconds in planted_similar.search_seconds(1000, 8))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("musicnn") is None, reason="the published weights are not installed")
def test_planted_copies_are_the_nearest(run):
    status, printed = run(planted_similar, "--clips=20", "--copies=10", "--seconds=12", "--rows=1000")
    assert status == 0
    assert re.search(r"trainer\.similar +100\.0 % ", printed)
