import copy
import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from tfrecords.common import command_line
from trainer import embed
from trainer.evaluation.predictions import load_model
from trainer.serving.embeddings import Embeddings
from trainer.serving.recognizer import Recognizer

RATE = 22050


def run(*arguments):
    """The exit status of the command line."""
    with pytest.raises(SystemExit) as ended:
        command_line.run(
            embed.main, copy.deepcopy(embed.FLAGS), usage=embed.__doc__, argv=["embed", *map(str, arguments)]
        )
    return ended.value.code


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Two files of each of two genres, by noise of other loudness; 2 s and 4 s, one and two patches."""
    folder = tmp_path_factory.mktemp("audio") / "music"
    rng = np.random.default_rng(0)
    for number, (genre, name, seconds) in enumerate(
        [("blues", "a.wav", 2), ("blues", "b.flac", 4), ("rock", "a.wav", 4), ("rock", "c.wav", 2)]
    ):
        (folder / genre).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / genre / name, 0.02 * (number + 1) * rng.normal(size=seconds * RATE), RATE)
    return folder


def rows_of(path):
    return pq.read_table(path).to_pylist()


def test_each_track_has_the_mean_of_what_its_patches_give_the_last_layer(trained, music, tmp_path, capsys):
    output = tmp_path / "new" / "all.parquet"
    assert run(f"--job_dir={trained}", f"--input={music}", f"--output={output}") == 0
    assert "embeddings of 4 tracks" in capsys.readouterr().out
    rows = rows_of(output)
    names = [("blues", "a.wav", 2), ("blues", "b.flac", 4), ("rock", "a.wav", 4), ("rock", "c.wav", 2)]
    assert [(row["path"], row["label"], row["duration_s"]) for row in rows] == [
        (str(music / genre / name), genre, seconds) for genre, name, seconds in names
    ]
    assert all(row["group"] is None for row in rows)
    # The last layer alone, on the embedding of a track of one patch, gives its probabilities.
    recognizer, last = Recognizer.load(trained), load_model(trained).layers[-1]
    for row in (rows[0], rows[3]):
        with Path(row["path"]).open("rb") as file:
            probabilities = recognizer.recognize(file).probabilities
        found = np.asarray(last(np.array([row["embedding"]], np.float32)))[0]
        np.testing.assert_allclose(found, probabilities, atol=1e-6)
    assert pq.read_schema(output).names == ["path", "label", "group", "duration_s", "embedding"]


def test_patches_have_starts_and_embeddings_of_their_own(trained, music, tmp_path):
    output = tmp_path / "all.parquet"
    assert run(f"--job_dir={trained}", f"--input={music}/*/*.wav", f"--output={output}", "--patches") == 0
    rows = rows_of(output)
    assert [len(row["patch_starts_s"]) for row in rows] == [1, 2, 1]
    for row in rows:
        assert len(row["patch_embeddings"]) == len(row["patch_starts_s"])
        np.testing.assert_allclose(np.mean(row["patch_embeddings"], axis=0), row["embedding"], atol=1e-6)
    np.testing.assert_allclose(rows[1]["patch_starts_s"], [0, 80 * 512 / RATE])


def test_the_schema_says_which_model_made_it(trained, music, tmp_path):
    output = tmp_path / "all.parquet"
    run(f"--job_dir={trained}", f"--input={music}", f"--output={output}")
    metadata = {name.decode(): value.decode() for name, value in pq.read_schema(output).metadata.items()}
    assert (metadata["model"], metadata["job_dir"]) == ("time", str(trained))
    assert json.loads(metadata["front_end"])["n_mels"] == 40 and len(metadata["fingerprint"]) == 64


def test_labels_and_groups_are_those_of_a_list_if_it_has_any(trained, music, tmp_path):
    output, listed = tmp_path / "all.parquet", tmp_path / "tracks.csv"
    for columns, expected in (
        (["path"], (None, None)),
        (["path", "genre", "artist"], ("soul", "Nina")),
        (["path", "style"], (None, None)),
    ):
        row = dict(zip(columns, (music / "blues" / "a.wav", "soul", "Nina"), strict=False))
        with listed.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerow(row)
        assert run(f"--job_dir={trained}", f"--input={listed}", f"--output={output}") == 0
        assert [(one["label"], one["group"]) for one in rows_of(output)] == [expected]
    assert run(f"--job_dir={trained}", f"--input={listed}", f"--output={output}", "--label_column=style") == 0
    assert rows_of(output)[0]["label"] == "soul"
    assert run(f"--job_dir={trained}", f"--input={listed}", f"--output={output}", "--label_column=genre") == 2


def test_what_cannot_be_used_is_a_line_and_silence_is_no_error(trained, music, tmp_path, capsys):
    soundfile.write(tmp_path / "silent.wav", np.zeros(3 * RATE), RATE)
    output = tmp_path / "all.parquet"
    listed = tmp_path / "tracks.csv"
    listed.write_text(f"path\n{tmp_path}/silent.wav\n{music}/rock/a.wav\n")
    assert run(f"--job_dir={trained}", f"--input={listed}", f"--output={output}") == 0
    assert capsys.readouterr().err == f"{tmp_path}/silent.wav: silent: no embedding\n"
    listed.write_text(f"path\n{tmp_path}/missing.wav\n{music}/rock/a.wav\n")
    assert run(f"--job_dir={trained}", f"--input={listed}", f"--output={output}") == 1
    assert capsys.readouterr().err == f"{tmp_path}/missing.wav: unreadable: No such file or directory\n"
    before = output.read_bytes()
    assert [row["path"] for row in rows_of(output)] == [f"{music}/rock/a.wav"]
    # Where none can be used, no file is written, and an earlier one stays.
    listed.write_text(f"path\n{tmp_path}/missing.wav\n")
    assert run(f"--job_dir={trained}", f"--input={listed}", f"--output={output}") == 2
    assert f"error: no track has an embedding, so {output} is not written\n" in capsys.readouterr().err
    assert output.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"silent.wav", "all.parquet", "tracks.csv"}


def test_the_published_network(fake_musicnn, music, tmp_path):
    output = tmp_path / "all.parquet"
    assert run("--model=musicnn", f"--input={music}/*/*4*", f"--output={output}") == 2
    assert run("--model=musicnn", f"--input={music}/rock/a.wav", f"--output={output}") == 2
    assert run("--model=musicnn", f"--input={music}/rock/a.*", f"--output={output}") == 0
    embeddings = Embeddings.read(str(output))
    assert embeddings.vectors.shape == (1, 200) and embeddings.vectors.std() > 0
    assert (embeddings.origin.model, embeddings.origin.job_dir) == ("musicnn", "")


def test_a_store_is_written_to(trained, music):
    recognizer = Recognizer.load(trained).with_units()
    from beam_preprocess.inputs.tracks import list_tracks

    embed.embed(recognizer, list_tracks(str(music)), "memory://embeddings/all.parquet", job_dir=str(trained))
    found = Embeddings.read("memory://embeddings/all.parquet")
    assert found.labels.to_pylist() == ["blues", "blues", "rock", "rock"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "--input=DIR and --output=FILE are needed"),
        (("--input=music", "--output=x"), "--job_dir=JOB is needed, or --model=musicnn"),
        (("--input=/nonexistent", "--output=x", "--model=musicnn"), "/nonexistent: no such folder"),
        (("--input=music", "--output=x", "--model=musicnn", "song.mp3"), "unexpected argument 'song.mp3'"),
        (("--input=music", "--output=x", "--model=musicnn", "--max_duration_s=nan"), "must be above 0"),
    ],
)
def test_a_mistake_ends_in_one_line(capsys, flags, words):
    assert run(*flags) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and words in printed.err and printed.err.count("\n") == 1


def test_a_directory_is_refused_before_anything_is_decoded(trained, music, tmp_path, capsys):
    assert run(f"--job_dir={trained}", f"--input={music}", f"--output={tmp_path}") == 2
    assert f"{tmp_path} is a directory; name a file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_lists_the_input_needs_neither_beam_nor_tensorflow():
    program = (
        "import sys, trainer.embed, beam_preprocess.inputs.tracks\n"
        "print({'apache_beam', 'tensorflow', 'keras'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
