import io
from collections import Counter

import av
import pytest

from tools.audio_mutants import GOOD, SEEDS, make_files, whole


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_seed_gives_the_same_files(tmp_path):
    made = make_files(tmp_path / "one", mutants=40, good=10, seed=1)
    whole.cache_clear()
    assert make_files(tmp_path / "two", mutants=40, good=10, seed=1) == made
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one").keys() == made.keys()
    make_files(tmp_path / "two", mutants=40, good=10, seed=2)
    assert contents(tmp_path / "one") != contents(tmp_path / "two")


@pytest.mark.parametrize("name", SEEDS)
def test_good_files_are_good(name):
    with av.open(io.BytesIO(whole(name).data)) as file:
        samples = sum(frame.samples for frame in file.decode(audio=0))
    assert 2.9 < samples / SEEDS[name].rate < 3.2


def test_a_quarter_of_the_mutants_and_more_are_of_coded_audio(tmp_path):
    made = make_files(tmp_path / "files", mutants=200, good=20, seed=0)
    assert sum(mutant.mutation == GOOD for mutant in made.values()) == 20
    families = Counter(SEEDS[mutant.format].family for mutant in made.values() if mutant.mutation != GOOD)
    assert families["mp3"] + families["ogg"] + families["mp4"] > 60
