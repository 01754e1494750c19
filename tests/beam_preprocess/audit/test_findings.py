import pytest

from beam_preprocess.audit import analysis
from beam_preprocess.audit.analysis import Sound
from beam_preprocess.audit.findings import make_audit
from beam_preprocess.audit.fingerprint import Alignment
from beam_preprocess.audit.pipeline import recordings
from beam_preprocess.audit.report import describe
from beam_preprocess.config import JobConfig
from beam_preprocess.plan import make_plan
from beam_preprocess.write_shard import Rejected


def sound(content="x", **changes):
    fields = {"duration_s": 30.0, "sample_rate": 22050, "channels": 1, "clipped": 0.0, "silent": 0.0}
    return Sound(**fields | {"same_channels": False, "content": content} | changes)


@pytest.fixture
def audit(make_tracks):
    """name -> (label, group, part, what was heard) of tracks, and matches by their place, to an audit."""

    def make(tracks, matches=()):
        listed = make_tracks([(name, label, group) for name, (label, group, _, _) in tracks.items()])
        parts = [part for _, _, part, _ in tracks.values()]
        plan = make_plan(JobConfig("in", "out", "music"), listed, parts, {"method": "lists"})
        numbered = sorted(analysis.tracks_of(plan), key=lambda item: item[0].track_id)
        heard = [tracks[track.track_id][3] for track, _ in numbered]
        contents = {
            number: (item.content, item.duration_s) for number, item in enumerate(heard) if isinstance(item, Sound)
        }
        return make_audit(plan, numbered, heard, recordings(contents, matches), sample_rate=22050)

    return make


def test_leaks_are_recordings_and_groups_in_several_parts(audit):
    found = audit(
        {
            "a": ("rock", "Ann", "train", sound("1")),
            "b": ("blues", "Bob", "test", sound("1")),
            "c": ("rock", "Cyd", "train", sound("2")),
            "d": ("rock", "Cyd", "train", sound("3")),
            "e": ("blues", "Bob", "train", sound("4")),
        },
        [(2, 3, Alignment(1.5, 28.5, 0.1))],
    )
    assert found["leaks"] == {"duplicates": 1, "groups": 1}
    assert found["torn_groups"] == [{"group": "Bob", "parts": {"test": 1, "train": 1}}]
    identical, near = found["duplicates"]
    assert (identical["parts"], identical["labels"]) == (["test", "train"], ["blues", "rock"])
    assert near["parts"] == ["train"]
    expected = {"first": "c", "second": "d", "identical": False, "offset_s": 1.5, "overlap_s": 28.5, "error_rate": 0.1}
    assert near["pairs"] == [expected]
    told = describe(found)
    assert "a (train) = b (test); labelled blues, rock" in told
    assert "the split leaks: 1 recordings and 1 groups" in told


def test_the_limits_of_single_findings(audit):
    ordinary = {f"t{number}": ("rock", "-", "train", sound(str(number))) for number in range(8)}
    found = audit(
        ordinary
        | {
            "clipped": ("rock", "-", "train", sound("c", clipped=1e-4)),
            "less": ("blues", "-", "train", sound("d", clipped=9e-5, silent=0.24, duration_s=27.1)),
            "short": ("rock", "-", "train", sound("e", duration_s=26.9)),
            "gone": ("rock", "-", "train", Rejected("gone", "/in/gone", "empty", "no samples")),
        }
    )
    assert found["clipped"] == [{"track_id": "clipped", "share": 1e-4}]
    assert found["silent"] == []
    assert found["length_outliers"] == [{"track_id": "short", "duration_s": 26.9}]
    assert found["rejects"] == [{"track_id": "gone", "label": "rock", "reason": "empty", "detail": "no samples"}]
    assert found["durations"]["median_s"] == 30
    assert "tracks cannot be used                    1" in describe(found)
    assert "by label: rock 1 of " in describe(found)


def test_lengths_that_vary_are_no_outliers(audit):
    tracks = {
        f"t{n}": ("rock" if n % 2 else "blues", "-", "a", sound(str(n), duration_s=100.0 + 20 * n)) for n in range(9)
    }
    assert audit(tracks)["length_outliers"] == []


def test_a_set_of_rejects_alone_has_an_audit(audit):
    reject = Rejected("gone", "/in/gone", "empty", "no samples")
    found = audit({"gone": ("rock", "-", "a", reject), "too": ("blues", "-", "a", reject)})
    assert len(found["rejects"]) == 2
    assert found["durations"]["total_s"] == 0
    assert found["leaks"] == {"duplicates": 0, "groups": 0}
