"""Whole jobs whose input or output is in a store."""

import dataclasses
import json
import os
import tarfile

import pytest

from beam_preprocess import job
from tfrecords.common.command_line import UserError
from tfrecords.manifest import Manifest

THREADS = ("--direct_num_workers=2",)
OUT = "memory://bucket/data/out"


@pytest.fixture(scope="module")
def local(clips, job_config, tmp_path_factory, contents):
    """The files of a job that runs on this machine's file system only."""
    output = tmp_path_factory.mktemp("local") / "out"
    job.run(job_config(clips, output), beam_args=THREADS)
    return contents(output)


@pytest.fixture(scope="module")
def archive(clips, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "music.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        file.add(clips, "music")
    return path


@pytest.fixture
def remote(memory, clips, archive):
    """The clips on memory://, as folder, archive and list."""
    paths = sorted(clips.rglob("*.wav"))
    for path in paths:
        memory.write(f"memory://bucket/music/{path.relative_to(clips)}", path.read_bytes())
    memory.write("memory://bucket/sets/music.tar.gz", archive.read_bytes())
    rows = [f"{path.relative_to(clips)},{path.parent.name}" for path in paths]
    memory.write("memory://bucket/music/tracks.csv", "\n".join(["path,genre", *rows]).encode())
    return memory


def written(memory, output=OUT):
    names = [name.removeprefix(f"{output}/") for name in memory.names(f"{output}/")]
    return {name: memory.read(f"{output}/{name}") for name in names if name != "metrics.json"}


@pytest.mark.parametrize(
    "source", ["music", "music/*/*.wav", "music/**", "music/tracks.csv", "sets/music.tar.gz"], ids=str
)
def test_the_same_bytes_as_on_this_machine(remote, job_config, local, source):
    job.run(job_config(f"memory://bucket/{source}", OUT), beam_args=THREADS)
    assert written(remote) == local


def test_from_a_store_to_this_machine(remote, job_config, local, tmp_path, contents):
    job.run(job_config("memory://bucket/sets/music.tar.gz", tmp_path / "out"), beam_args=THREADS)
    assert contents(tmp_path / "out") == local
    assert not (tmp_path / "out" / ".partial").exists()


def test_a_local_archive_makes_the_dataset_of_its_folder(archive, clips, job_config, local, tmp_path, contents, capfd):
    config = job_config(archive, tmp_path / "out")
    job.run(config, beam_args=THREADS)
    assert contents(tmp_path / "out") == local
    capfd.readouterr()
    job.run(config, beam_args=THREADS)
    job.run(dataclasses.replace(config, source=str(clips)), beam_args=THREADS)
    printed = capfd.readouterr().err
    assert printed.count("nothing to do") == 2
    assert "unpacking" not in printed
    assert not (tmp_path / "out" / ".partial").exists()


def test_nothing_to_do_another_dataset_and_overwriting(remote, job_config, local, capfd):
    config = job_config("memory://bucket/music", OUT)
    job.run(config, beam_args=THREADS)
    job.run(config, beam_args=THREADS)
    assert "nothing to do" in capfd.readouterr().err
    other = dataclasses.replace(config, name="other")
    with pytest.raises(UserError, match="already holds another dataset"):
        job.run(other, beam_args=THREADS)
    assert written(remote) == local
    remote.write(f"{OUT}/notes.txt", b"mine")
    job.run(other, beam_args=THREADS, overwrite=True)
    found = written(remote)
    assert found.pop("notes.txt") == b"mine"
    assert not [name for name in found if name.startswith((".partial", "music"))]
    job.run(config, beam_args=THREADS, overwrite=True)
    assert written(remote) == local | {"notes.txt": b"mine"}


def test_an_unfinished_job_is_resumed(remote, job_config, local, capfd):
    good = remote.read("memory://bucket/music/jazz/jazz.00001.wav")
    remote.write("memory://bucket/music/jazz/jazz.00001.wav", b"x" * len(good))
    config = job_config("memory://bucket/music", OUT, max_reject_fraction=0.0)
    with pytest.raises(UserError, match=r"1 of 12 tracks cannot be used \(1 undecodable\)"):
        job.run(config, beam_args=THREADS)
    with pytest.raises(UserError, match="another, unfinished dataset"):
        job.run(dataclasses.replace(config, name="other"), beam_args=THREADS)
    remote.write("memory://bucket/music/jazz/jazz.00001.wav", good + b"\0\0")
    capfd.readouterr()
    manifest = job.run(config, beam_args=THREADS)
    printed = capfd.readouterr().err
    assert "an earlier run was interrupted: it finished 4 of 4 shards; those that are still valid" in printed
    assert manifest.to_json() == remote.read(f"{OUT}/manifest.json").decode()
    assert written(remote).keys() == local.keys()


def test_an_archive_stays_unpacked_until_the_dataset_is_finished(make_clips, job_config, tmp_path, capfd, read_rejects):
    paths = make_clips(tmp_path / "music")
    paths[0].write_bytes(b"")
    with tarfile.open(tmp_path / "music.tar", "w") as file:
        file.add(tmp_path / "music", "music")
    config = job_config(tmp_path / "music.tar", tmp_path / "out", max_reject_fraction=0.0)
    with pytest.raises(UserError, match="1 of 12 tracks cannot be used"):
        job.run(config, beam_args=THREADS)
    assert len(list((tmp_path / "out" / ".partial" / "unpacked").rglob("*.wav"))) == 12
    capfd.readouterr()
    job.run(dataclasses.replace(config, max_reject_fraction=0.5), beam_args=THREADS)
    printed = capfd.readouterr().err
    assert "unpacking" not in printed
    assert "it finished 4 of 4 shards" in printed
    assert not (tmp_path / "out" / ".partial").exists()
    (reject,) = read_rejects(tmp_path / "out")
    assert reject["track_id"] == "blues/blues.00000.wav"
    assert reject["uri"] == f"{tmp_path}/music.tar/music/blues/blues.00000.wav"


def test_a_file_that_is_not_there_is_a_reject(remote, job_config, read_rejects):
    rows = remote.read("memory://bucket/music/tracks.csv") + b"\nrock/gone.wav,rock"
    remote.write("memory://bucket/music/tracks.csv", rows)
    job.run(job_config("memory://bucket/music/tracks.csv", OUT), beam_args=THREADS)
    assert Manifest.from_json(remote.read(f"{OUT}/manifest.json").decode(), OUT).rejects == {"unreadable": 1}


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("memory://bucket/nothing", OUT, "memory://bucket/nothing: no audio file in this folder"),
        ("memory://nowhere/music", OUT, "cannot be listed: there is no bucket memory://nowhere"),
        ("memory://nowhere/music.tar", OUT, "memory://nowhere/music.tar: cannot be read: there is no bucket"),
        ("memory://bucket/music", "memory://nowhere/out", "nowhere/out cannot be used: there is no bucket"),
        (
            "memory://bucket/sets/music.tar.gz",
            "memory://nowhere/out",
            "nowhere/out cannot be used: there is no bucket",
        ),
        ("memory://bucket/sets/music.tar.gz", "nosuch://bucket/out", "nosuch:// is not known"),
        ("memory://bucket/music", "nosuch://bucket/out", "nosuch:// is not known"),
    ],
)
def test_what_does_not_exist_is_an_error_of_one_line(remote, job_config, source, output, message):
    with pytest.raises(UserError) as info:
        job.run(job_config(source, output), beam_args=THREADS)
    assert message in str(info.value)
    assert "\n" not in str(info.value)
    assert written(remote) == {}


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_strange_names_from_folder_and_archive(make_clips, job_config, tmp_path, contents):
    paths = make_clips(tmp_path / "music", labels=("jazz", "rock"), per_label=2)
    names = ("e\u0301 \"two\nlines'.wav", "é.wav", "caf\udce9.wav", " a  b .wav")
    for path, name in zip(paths, names, strict=True):
        path.rename(path.with_name(name))
    with tarfile.open(tmp_path / "music.tgz", "w:gz") as file:
        file.add(tmp_path / "music", "music")
    for source in ("music", "music.tgz"):
        job.run(job_config(tmp_path / source, tmp_path / f"{source} out"), beam_args=THREADS)
    assert contents(tmp_path / "music out") == contents(tmp_path / "music.tgz out")


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_names_of_duplicates_that_are_not_utf8(make_clips, job_config, tmp_path, contents, capfd):
    first, *_ = make_clips(tmp_path / "music", labels=("jazz", "rock"), per_label=2)
    (tmp_path / "music" / "rock").rename(tmp_path / "music" / "r\udcf6ck")
    copies = ("jazz/caf\udce9.wav", "r\udcf6ck/caf\udce9.wav")
    for name in copies:
        (tmp_path / "music" / name).write_bytes(first.read_bytes())
    (tmp_path / "music" / "jazz" / "n\udcf3 audio.wav").write_text("text")
    with tarfile.open(tmp_path / "music.tgz", "w:gz") as file:
        file.add(tmp_path / "music", "music")
    for source in ("music", "music.tgz"):
        config = job_config(tmp_path / source, tmp_path / f"{source} \udce9", max_reject_fraction=0.2)
        manifest = job.run(config, beam_args=THREADS)
        assert manifest.duplicates == ((copies[0], f"jazz/{first.name}", copies[1]),)
        assert manifest.labels == ("jazz", "r\udcf6ck")
        assert "1 recordings are there more than once" in capfd.readouterr().err
    made = contents(tmp_path / "music \udce9")
    assert json.loads(made["rejects.jsonl"])["track_id"] == "jazz/n\udcf3 audio.wav"
    found = contents(tmp_path / "music.tgz \udce9")
    assert found.pop("rejects.jsonl") != made.pop("rejects.jsonl")
    assert found == made
