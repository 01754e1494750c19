import pytest

from beam_preprocess.gtzan.facts import genre_of
from beam_preprocess.gtzan.unpack import describe, verify


@pytest.fixture
def whole(tmp_path, clip_bytes):
    for clip, content in clip_bytes.items():
        path = tmp_path / genre_of(clip) / f"{clip}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def test_the_whole_set_with_its_known_faults(whole):
    found = verify(whole)
    assert found.problem is None
    assert found.unreadable == ("jazz.00054",)
    assert len(found.files) == 1000
    assert found.files["rock.00099"] == "rock/rock.00099.wav"
    lines = list(describe(found))
    assert lines[0].startswith("1000 clips, 10 genres x 100; artists are known of 983")
    assert "known fault: jazz.00054: its header cannot be read; cannot be decoded in the popular .wav copy" in lines[2]
    assert any(line.startswith("known fault: reggae.00086: in none of the filtered lists") for line in lines)
    assert any(line.startswith("known fault: metal.00058: the song of rock.00016") for line in lines)


def test_what_keeps_it_from_being_whole(whole):
    (whole / "blues/blues.00007.wav").write_bytes(b"RIFF")
    assert verify(whole).problem == "1 of 1000 clips are not readable: blues.00007"
    (whole / "blues/blues.00008.au").write_bytes(b"")
    assert verify(whole).problem == "1 of 1000 clips are there twice: blues.00008"
    (whole / "rock/rock.00000.wav").unlink()
    assert verify(whole).problem == "1 of 1000 clips are missing: rock.00000"


def test_one_that_cannot_be_decoded_may_be_missing(whole):
    (whole / "jazz/jazz.00054.wav").unlink()
    found = verify(whole)
    assert found.problem is None
    assert next(describe(found)).startswith("999 clips")
    assert any("jazz.00054: not in this copy" in line for line in describe(found))


def test_nothing_there(tmp_path):
    assert "999 of 1000 clips are missing: blues.00000, " in verify(tmp_path / "none").problem


def test_a_folder_whose_name_is_not_utf8(tmp_path, clip_bytes):
    path = tmp_path / "gtz\udce4n" / "blues" / "blues.00000.wav"
    path.parent.mkdir(parents=True)
    path.write_bytes(clip_bytes["blues.00000"])
    found = verify(path.parents[1])
    assert (found.files, found.unreadable) == ({"blues.00000": "blues/blues.00000.wav"}, ())
