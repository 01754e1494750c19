from collections import Counter

import pytest

from beam_preprocess.audio.measure import TrackSound
from beam_preprocess.label_sound import LabelSound, merged, warnings


def label_sound(tracks=10, rate=22050, bandwidth_hz=11000.0, **changes):
    sound = LabelSound()
    for _ in range(tracks):
        sound.add(TrackSound(rate, bandwidth_hz, **{"cancels": False, "far_beyond_full_scale": False} | changes))
    return sound


def only(lines, *words):
    (line,) = lines
    assert all(word in line for word in words)


def test_labels_alike_are_not_warned_of():
    sounds = {"classical": label_sound(bandwidth_hz=10300), "metal": label_sound(), "pop": label_sound()}
    assert warnings(sounds, 22050) == []


@pytest.mark.parametrize("labels", [2, 5])
def test_a_label_of_narrower_sound(labels):
    sounds = {f"label {index}": label_sound() for index in range(labels)} | {"folk": label_sound(bandwidth_hz=4000)}
    lines = warnings(sounds, 22050)
    assert any("folk" in line and "4.0 kHz" in line and "11.0 kHz" in line for line in lines)
    assert len(lines) == 1


def test_what_the_front_end_does_not_hear_sets_no_label_apart():
    sounds = {"a": label_sound(bandwidth_hz=20000), "b": label_sound(bandwidth_hz=11000), "c": label_sound()}
    assert warnings(sounds, 22050) == []
    assert warnings(sounds, 44100)


def test_a_label_of_another_rate():
    sounds = {"a": label_sound(), "b": label_sound(), "c": label_sound(rate=44100, bandwidth_hz=16000)}
    only(warnings(sounds, 22050), "c ", "44100", "22050")
    sounds["b"].update(label_sound(rate=44100, bandwidth_hz=16000))
    assert warnings(sounds, 22050) == []


def test_what_silences_tracks():
    sounds = {"a": label_sound(3, cancels=True), "b": label_sound()}
    only(warnings(sounds, 22050), "3 tracks", "cancel", "a 3")
    sounds = {"a": label_sound(2, far_beyond_full_scale=True), "b": label_sound()}
    only(warnings(sounds, 22050), "2 tracks", "full scale", "a 2")


def test_silent_labels_are_no_narrow_ones():
    assert warnings({"a": label_sound(bandwidth_hz=0.0), "b": label_sound()}, 22050) == []


def test_counts_of_shards_add_up():
    found = merged([{"b": label_sound(2)}, {"a": label_sound(1), "b": label_sound(3, rate=8000, cancels=True)}])
    assert list(found) == ["a", "b"]
    assert found["b"].sample_rates == Counter({8000: 3, 22050: 2})
    assert found["b"].cancelled == 3
    assert found["b"].bandwidths_hz == Counter({11000: 5})
