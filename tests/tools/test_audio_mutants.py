import soundfile

from tools.audio_mutants import GOOD, make_files


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_seed_gives_the_same_files(tmp_path):
    made = make_files(tmp_path / "one", mutants=40, good=10, seed=1)
    assert make_files(tmp_path / "two", mutants=40, good=10, seed=1) == made
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one").keys() == made.keys()
    make_files(tmp_path / "two", mutants=40, good=10, seed=2)
    assert contents(tmp_path / "one") != contents(tmp_path / "two")


def test_good_files_are_good(tmp_path):
    made = make_files(tmp_path / "files", mutants=5, good=30, seed=0)
    good = [name for name, mutation in made.items() if mutation == GOOD]
    assert len(good) == 30
    assert all(2.9 < soundfile.info(tmp_path / "files" / name).duration < 3.2 for name in good)
