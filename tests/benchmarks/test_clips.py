import pytest
import soundfile

from benchmarks import clips


def test_clips_links_and_one_long_file(tmp_path):
    folder = clips.make_mp3_clips(tmp_path, clips=10, seconds=3)
    (mp3, *others) = sorted(folder.glob("*/*.mp3"))
    info = soundfile.info(mp3)
    assert len(others) == 9
    assert (info.samplerate, info.channels, info.frames) == (44100, 2, 3 * 44100)
    assert mp3.stat().st_size * 8 / 3 == pytest.approx(128_000, rel=0.05)
    linked = clips.link_clips(folder, tmp_path / "linked", times=3)
    assert len(list(linked.glob("*/*.mp3"))) == 30
    assert (linked / "blues" / "blues.00000.copy2.mp3").samefile(folder / "blues" / "blues.00000.mp3")
    wav = clips.make_clips(tmp_path, clips=10, seconds=3) / "blues" / "blues.00000.wav"
    assert soundfile.info(clips.tile(wav, tmp_path / "deep" / "long.wav", hours=0.01)).duration == 36
