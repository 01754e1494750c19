import pytest

from beam_preprocess.gtzan.facts import all_clips, clip_of, genre_of


@pytest.mark.parametrize(
    "path",
    [
        "blues/blues.00000.wav",
        "genres/blues/blues.00000.au",
        "/data/Data/genres_original/blues/blues.00000.wav",
        "a\n/blues/blues.00000.WAV",
    ],
)
def test_clips(path):
    assert clip_of(path) == "blues.00000"


@pytest.mark.parametrize(
    "path",
    [
        "blues.00000.wav",
        "rock/blues.00000.wav",
        "xblues/blues.00000.wav",
        "blues/blues.00100.wav",
        "blues/blues.0000.wav",
        "blues/blues.000000.wav",
        "blues/._blues.00000.wav",
        "blues/blues.00000",
        "blues/blues.00000.wav.part",
        "blues/blues00000.png",
        "polka/polka.00000.wav",
        "blues/blues.0000\N{ARABIC-INDIC DIGIT ONE}.wav",
    ],
)
def test_files_that_are_no_clips(path):
    assert clip_of(path) is None


def test_all_of_them():
    clips = all_clips()
    assert (len(clips), clips[0], clips[-1]) == (1000, "blues.00000", "rock.00099")
    assert clips == sorted(clips)
    assert all(clip_of(f"{genre_of(clip)}/{clip}.wav") == clip for clip in clips)
