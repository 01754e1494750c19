import pytest
import soundfile

from benchmarks import clips


def test_links_are_the_clips_under_other_names(tmp_path):
    source = clips.make_clips(tmp_path, clips=20, seconds=3)
    linked = clips.link_clips(source, tmp_path / "linked", times=3)
    clips.link_clips(source, tmp_path / "linked", times=3)
    files = sorted(linked.glob("*/*.wav"))
    assert len(files) == 60
    original = max((source / "blues").iterdir())
    assert (linked / "blues" / f"{original.stem}.copy2.wav").samefile(original)
    few = clips.link_clips(source, tmp_path / "few", times=1, per_genre=1)
    assert len(list(few.glob("*/*.wav"))) == 10


def test_mp3_clips_are_what_people_have(tmp_path):
    folder = clips.make_mp3_clips(tmp_path, clips=10, seconds=3)
    files = sorted(folder.glob("*/*.mp3"))
    assert len(files) == 10
    info = soundfile.info(files[0])
    assert (info.samplerate, info.channels, info.frames) == (44100, 2, 3 * 44100)
    assert files[0].stat().st_size * 8 / 3 == pytest.approx(128_000, rel=0.05)
    assert b"Info" in files[0].read_bytes()[:200]
    written = files[0].stat().st_mtime_ns
    assert clips.make_mp3_clips(tmp_path, clips=10, seconds=3) == folder
    assert files[0].stat().st_mtime_ns == written


def test_a_tiled_clip_is_as_long_as_asked(tmp_path):
    (source,) = (clips.make_clips(tmp_path, clips=10, seconds=3) / "blues").iterdir()
    target = clips.tile(source, tmp_path / "deep" / "long.wav", hours=0.01)
    assert soundfile.info(target).duration == 36
    long, _ = soundfile.read(target, dtype="int16")
    short, _ = soundfile.read(source, dtype="int16")
    assert (long.reshape(12, -1) == short).all()
    written = target.stat().st_mtime_ns
    assert clips.tile(source, target, hours=0.01).stat().st_mtime_ns == written
    assert soundfile.info(clips.tile(source, target, hours=0.02)).duration == 72
