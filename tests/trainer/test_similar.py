import copy
import json
import shutil

import numpy as np
import pytest
import soundfile

from beam_preprocess.inputs.tracks import list_tracks
from tfrecords.common import command_line
from trainer import embed, similar
from trainer.serving.recognizer import Recognizer
from trainer.training_job import CHECKPOINT_FILE

RATE = 22050


def run(*arguments):
    """The exit status of the command line."""
    with pytest.raises(SystemExit) as ended:
        command_line.run(
            similar.main, copy.deepcopy(similar.FLAGS), usage=similar.__doc__, argv=["similar", *map(str, arguments)]
        )
    return ended.value.code


def tones(number):
    """4 s of two tones that are no other number's."""
    time_s = np.arange(4 * RATE) / RATE
    hertz = 200 * (number + 1), 1100 + 900 * number
    return 0.3 * np.sin(2 * np.pi * hertz[0] * time_s) + 0.2 * np.sin(2 * np.pi * hertz[1] * time_s)


@pytest.fixture(scope="module")
def collection(tmp_path_factory, trained):
    """A folder of eight recordings, and the file of their embeddings."""
    folder = tmp_path_factory.mktemp("collection")
    for number in range(8):
        path = folder / "music" / f"genre {number % 2}" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tones(number), RATE)
    recognizer = Recognizer.load(trained).with_units()
    embed.embed(recognizer, list_tracks(str(folder / "music")), str(folder / "all.parquet"), job_dir=str(trained))
    return folder


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_original_of_a_copy_is_the_nearest(collection, tmp_path, capsys):
    for number in (2, 5):
        soundfile.write(tmp_path / f"{number}.flac", 0.98 * tones(number), RATE)
    assert run(f"--embeddings={collection}/all.parquet", "--json", "--num_neighbours=3", tmp_path) == 0
    found = lines(capsys)
    assert [one["path"] for one in found] == [f"{tmp_path}/2.flac", f"{tmp_path}/5.flac"]
    for one, number in zip(found, (2, 5), strict=True):
        assert len(one["neighbours"]) == 3
        assert one["neighbours"][0]["path"] == f"{collection}/music/genre {number % 2}/{number}.wav"
        assert one["neighbours"][0]["label"] == f"genre {number % 2}"
        similarities = [neighbour["similarity"] for neighbour in one["neighbours"]]
        assert similarities == sorted(similarities, reverse=True) and similarities[0] > 0.8


def test_a_track_of_the_collection_is_not_its_own_neighbour(collection, capsys, monkeypatch):
    monkeypatch.chdir(collection / "music")
    assert run("--embeddings=../all.parquet", "genre 1/../genre 1/3.wav", "--num_neighbours=100") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head == "genre 1/../genre 1/3.wav: nearest of 8 tracks"
    assert len(rows) == 7 and not any("3.wav" in row for row in rows)


def test_what_cannot_be_used_is_a_line_and_silence_has_no_neighbours(collection, tmp_path, capsys):
    soundfile.write(tmp_path / "silent.wav", np.zeros(3 * RATE), RATE)
    files = [tmp_path / "silent.wav", tmp_path / "missing.wav", collection / "music" / "genre 0" / "0.wav"]
    assert run(f"--embeddings={collection}/all.parquet", *files) == 1
    printed = capsys.readouterr()
    assert printed.err == f"{tmp_path}/missing.wav: unreadable: No such file or directory\n"
    assert printed.out.startswith(f"{tmp_path}/silent.wav: silent: no genre\n")
    assert run(f"--embeddings={collection}/all.parquet", "--json", *files) == 1
    silent, missing, found = lines(capsys)
    assert silent == {"path": str(files[0]), "neighbours": []}
    assert missing["reason"] == "unreadable" and len(found["neighbours"]) == 7


def test_embeddings_of_another_model_are_refused(collection, trained, job_of, tiny, tmp_path, capsys):
    from trainer import train

    shutil.copytree(trained, tmp_path / "moved")
    song = collection / "music" / "genre 0" / "0.wav"
    assert run(f"--embeddings={collection}/all.parquet", f"--job_dir={tmp_path / 'moved'}", song) == 0
    (tmp_path / "other").mkdir()
    train.train(job_of(tiny.path, "--model_options=filters=4", "--epochs=1", "--seed=7"), tmp_path / "other")
    capsys.readouterr()
    assert run(f"--embeddings={collection}/all.parquet", f"--job_dir={tmp_path / 'other'}", song) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert "was made by another model (time, fingerprint " in printed.err
    (tmp_path / "moved" / CHECKPOINT_FILE).unlink()
    assert run(f"--embeddings={collection}/all.parquet", f"--job_dir={tmp_path / 'moved'}", song) == 2


def test_a_job_that_has_moved_is_named(trained, collection, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "job")
    recognizer = Recognizer.load(tmp_path / "job").with_units()
    tracks = list_tracks(str(collection / "music"))[:2]
    embed.embed(recognizer, tracks, str(tmp_path / "two.parquet"), job_dir=str(tmp_path / "job"))
    (tmp_path / "job").rename(tmp_path / "elsewhere")
    capsys.readouterr()
    assert run(f"--embeddings={tmp_path}/two.parquet", tracks[0].uri) == 2
    printed = capsys.readouterr().err
    assert "no config.json" in printed and "--job_dir names a job that has moved" in printed
    assert printed.count("\n") == 1
    assert run(f"--embeddings={tmp_path}/two.parquet", f"--job_dir={tmp_path}/elsewhere", tracks[0].uri) == 0


def test_a_map_is_drawn_with_and_without_files(collection, tmp_path, capsys):
    arguments = (f"--embeddings={collection}/all.parquet", f"--png={tmp_path}/map.png", "--projection=pca")
    assert run(*arguments) == 0
    assert capsys.readouterr().out == f"map: {tmp_path}/map.png\n"
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    alone = (tmp_path / "map.png").read_bytes()
    assert run(*arguments, "--json", collection / "music" / "genre 0" / "0.wav") == 0
    assert len(lines(capsys)) == 1
    assert (tmp_path / "map.png").read_bytes() != alone


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "--embeddings=FILE and one or more files or folders are needed"),
        (("--embeddings=x",), "--embeddings=FILE and one or more files or folders are needed"),
        (("--embeddings=/nonexistent", "song.mp3"), "/nonexistent cannot be read: No such file or directory"),
        (("--embeddings=x", "--num_neighbours=0", "song.mp3"), "num_neighbours"),
        (("--embeddings=x", "--png=map.jpg"), "--png must name a file that ends with .png"),
        (("--embeddings=x", "--png=gs://bucket/map.png"), "has to be on this machine"),
    ],
)
def test_a_mistake_ends_in_one_line(capsys, flags, words):
    assert run(*flags) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and words in printed.err and printed.err.count("\n") == 1
