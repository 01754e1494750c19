import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_preprocess import synthesize
from beam_preprocess.groups import find_pieces, is_gtzan
from beam_preprocess.inputs.tracks import list_tracks
from tfrecords.common import files
from tfrecords.common.command_line import UserError

ROOT = Path(__file__).parents[2]
GTZAN = ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"]


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    output = tmp_path_factory.mktemp("synthetic")
    return output, synthesize.synthesize_dataset(output, tracks_per_genre=2, seconds=3.1)


def test_the_genres_are_those_of_gtzan():
    assert list(synthesize.GENRES) == GTZAN


@pytest.mark.parametrize("genre", GTZAN)
def test_a_track_is_sound(genre):
    track = synthesize.synthesize_track(genre, seed=3, seconds=3, index=5)
    assert (track.dtype, track.shape) == (np.float32, (3 * 22050,))
    assert np.isfinite(track).all()
    assert 0.3 < np.abs(track).max() < 1
    assert np.sqrt(np.mean(track**2)) > 0.01
    assert abs(track.mean()) < 0.01


def test_a_track_depends_on_genre_seed_and_index_only():
    def make(genre="pop", **changes):
        return synthesize.synthesize_track(genre, **{"seed": 1, "seconds": 3, "index": 1} | changes)

    np.testing.assert_array_equal(make(), make())
    for other in (make("rock"), make(seed=2), make(index=2), make(seed=0, index=0)):
        assert abs(np.corrcoef(make(), other)[0, 1]) < 0.5


def test_layout_and_format(small_set):
    output, paths = small_set
    assert [path.parent for path in paths] == [output / genre for genre in GTZAN for _ in range(2)]
    assert sorted(path for path in output.rglob("*") if path.is_file()) == sorted(set(paths))
    for path in paths:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype, info.format) == (22050, 1, "PCM_16", "WAV")
        assert info.frames == round(3.1 * 22050)


def test_a_file_is_taken_for_neither_a_clip_of_gtzan_nor_a_piece_of_a_recording(tmp_path):
    paths = synthesize.synthesize_dataset(tmp_path, tracks_per_genre=1, seconds=30)
    tracks = list_tracks(str(tmp_path))
    assert [tmp_path / track.track_id for track in tracks] == sorted(paths)
    assert not is_gtzan(tracks)
    assert find_pieces(tracks).recordings == 0


def test_no_two_tracks_of_a_genre_have_one_name():
    names = {synthesize._name("jazz", index) for index in range(synthesize.MAX_TRACKS_PER_GENRE)}
    assert len(names) == synthesize.MAX_TRACKS_PER_GENRE
    assert all(name.removesuffix(".wav").replace("-", "").isalpha() for name in names)


def test_a_file_holds_the_track_of_its_genre_and_index(small_set):
    _, paths = small_set
    written, _ = soundfile.read(paths[2 * GTZAN.index("jazz") + 1], dtype="float32")
    track = synthesize.synthesize_track("jazz", seed=0, seconds=3.1, index=1)
    np.testing.assert_allclose(written, track, atol=1 / 2**15)


def test_genres_can_be_told_apart_but_not_trivially():
    def spectrum(genre, index):
        track = synthesize.synthesize_track(genre, seed=0, seconds=3, index=index)
        frames = np.lib.stride_tricks.sliding_window_view(track, 1024)[::1024] * np.hanning(1024).astype(np.float32)
        bands = np.abs(np.fft.rfft(frames))[:, 1:].reshape(len(frames), 32, 16).mean(2)
        log_bands = np.log10(bands**2 + 1e-4)
        return np.concatenate([log_bands.mean(0), log_bands.std(0)])

    features = np.array([[spectrum(genre, index) for index in range(8)] for genre in GTZAN])
    features /= features.std((0, 1))
    centroids = features[:, :6].mean(1)
    distances = np.linalg.norm(features[:, 6:, None] - centroids, axis=-1)
    accuracy = np.mean(distances.argmin(-1) == np.arange(10)[:, None])
    assert 0.3 < accuracy < 1


def test_a_second_run_keeps_whole_tracks_and_repairs_the_others(tmp_path):
    paths = synthesize.synthesize_dataset(tmp_path, tracks_per_genre=1, seconds=3)
    contents = [path.read_bytes() for path in paths]
    torn, garbled, missing = paths[:3]
    os.truncate(torn, 1000)
    garbled.write_bytes(b"not a wave file")
    missing.unlink()
    times_ns = [path.stat().st_mtime_ns for path in paths[3:]]
    assert synthesize.synthesize_dataset(tmp_path, tracks_per_genre=1, seconds=3) == paths
    assert [path.read_bytes() for path in paths] == contents
    assert [path.stat().st_mtime_ns for path in paths[3:]] == times_ns
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(paths)


def test_tracks_of_another_seed_or_length_are_replaced(tmp_path):
    path = synthesize.synthesize_dataset(tmp_path, tracks_per_genre=1, seconds=3)[0]
    first = path.read_bytes()
    synthesize.synthesize_dataset(tmp_path, tracks_per_genre=1, seconds=3, seed=1)
    assert path.read_bytes() != first
    synthesize.synthesize_dataset(tmp_path, tracks_per_genre=1, seconds=3.5, seed=1)
    assert soundfile.info(path).frames == round(3.5 * 22050)


def test_other_audio_is_refused(tmp_path):
    # As earlier versions named theirs, which would be taken for GTZAN's.
    (tmp_path / "jazz").mkdir()
    (tmp_path / "jazz" / "notes.txt").touch()
    (tmp_path / "jazz" / "jazz.00000.wav").touch()
    with pytest.raises(UserError, match=r"holds other audio, such as jazz/jazz\.00000\.wav; choose another `output`"):
        synthesize.synthesize_dataset(tmp_path, tracks_per_genre=1, seconds=3)
    assert [path.name for path in tmp_path.iterdir()] == ["jazz"]


def test_what_killed_processes_left_is_removed(tmp_path):
    paths = synthesize.synthesize_dataset(tmp_path, tracks_per_genre=2, seconds=3)
    (paths[-1].parent / ".tmp-01234567-a.wav").touch()
    # Fewer tracks: those that are more than asked for are this generator's, too.
    synthesize.synthesize_dataset(tmp_path, tracks_per_genre=1, seconds=3)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(paths)


def test_one_at_a_time_writes_to_a_directory(tmp_path):
    with files.lock_directory(tmp_path, "writing"), pytest.raises(UserError, match="another process is writing there"):
        synthesize.synthesize_dataset(tmp_path, tracks_per_genre=1, seconds=3)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_failed_rename_leaves_no_file_under_the_final_name(tmp_path, monkeypatch):
    def fail(self, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(UserError, match="No space left on device"):
        synthesize.synthesize_dataset(tmp_path, tracks_per_genre=1, seconds=3)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tracks_per_genre": 0}, "`tracks_per_genre` must be 1 to 1024, got 0"),
        ({"seconds": 2.9}, "`seconds` must be 3 to 300, got 2.9"),
        ({"seconds": float("nan")}, "`seconds` must be 3 to 300, got nan"),
        ({"seconds": 1e9}, "`seconds` must be 3 to 300"),
        ({"tracks_per_genre": 1025}, "`tracks_per_genre` must be 1 to 1024, got 1025"),
        ({"seed": -1}, "`seed` must be 0 to .*, got -1"),
        ({"output": "gs://bucket/synthetic"}, "local directory"),
    ],
)
def test_values_out_of_range(tmp_path, values, message):
    with pytest.raises(UserError, match=message):
        synthesize.synthesize_dataset(**{"output": tmp_path, "tracks_per_genre": 1, "seconds": 3} | values)
    assert not list(tmp_path.iterdir())


def test_a_terminal_shows_a_bar_that_is_gone_at_the_end(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    synthesize.synthesize_dataset(tmp_path, tracks_per_genre=1, seconds=3)
    lines = terminal.getvalue().split("\r")
    assert any("0/10" in line for line in lines)
    assert "\n" not in terminal.getvalue()
    assert lines[-2].strip() == lines[-1] == ""


def test_no_track_waits_for_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: pytest.fail("synced"))
    assert len(synthesize.synthesize_dataset(tmp_path, tracks_per_genre=1, seconds=3)) == 10


def test_command_line(tmp_path):
    # One process for what is said of imports, of a first and of a second run.
    program = f"""
import sys
from beam_preprocess import synthesize
from tfrecords.common import command_line
for run in range(2):
    try:
        argv = ["synthesize", "--output={tmp_path}/set", "--tracks_per_genre=1", "--seconds=3"]
        command_line.run(synthesize.main, synthesize.FLAGS, usage="", argv=argv)
    except SystemExit as stop:
        assert stop.code == 0
print(sorted({{"tensorflow", "apache_beam", "librosa"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    first, second, imported = done.stdout.splitlines()
    assert first == second == f"10 tracks of 3 s, 10 genres, are in {tmp_path}/set"
    assert imported == "[]"
    assert done.stderr == ""


def test_an_output_that_is_a_file_is_a_mistake(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=f"^cannot write to {tmp_path}/taken.*Not a directory"):
        synthesize.synthesize_dataset(tmp_path / "taken", tracks_per_genre=1, seconds=3)
