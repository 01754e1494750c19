import pytest

from beam_preprocess.audit import analysis
from beam_preprocess.audit.analysis import AnalyzedTrack
from beam_preprocess.audit.findings import make_audit, pairs_to_draw, recordings
from beam_preprocess.audit.fingerprint import Alignment
from beam_preprocess.audit.report import describe
from beam_preprocess.config import JobConfig
from beam_preprocess.plan import make_plan
from beam_preprocess.shards import Rejected

NEAR = Alignment(1.0, 20.0, 0.1)


def sound(content="x", **changes):
    sound = {"sample_rate": 22050, "bandwidth_hz": 0, "cancels": False, "far_beyond_full_scale": False}
    shares = {"clipped_share": 0.0, "silent_share": 0.0, "same_channels": False}
    return AnalyzedTrack(**sound | shares | {"duration_s": 30.0, "channels": 1, "content": content} | changes)


def test_identical_and_matching_tracks_make_one_recording():
    reject = Rejected("gone", "/in/gone", "empty", "no samples")
    analyses = [sound("a"), sound("b"), sound("a"), reject, sound("c", duration_s=29.0), sound("d", duration_s=1.0)]
    first, second = recordings(analyses, [(2, 4, NEAR), (0, 2, NEAR), (1, 5, NEAR)])
    assert first.tracks == (0, 2, 4)
    assert [(pair.first, pair.second, pair.identical) for pair in first.pairs] == [(0, 2, True), (2, 4, False)]
    assert first.pairs[0].alignment == Alignment(0.0, 30.0, 0.0)
    assert second.tracks == (1, 5)


def test_a_chain_is_one_recording_whatever_the_order():
    analyses = [sound(str(number)) for number in range(6)]
    (only,) = recordings(analyses, [(4, 5, NEAR), (0, 1, NEAR), (3, 4, NEAR), (1, 2, NEAR), (2, 3, NEAR)])
    assert only.tracks == (0, 1, 2, 3, 4, 5)


def test_pairs_across_parts_are_drawn_first_and_identical_ones_never():
    analyses = [sound(str(max(1, number))) for number in range(6)]
    found = recordings(analyses, [(2, 3, NEAR), (4, 5, NEAR)])
    parts = ["train", "test", "train", "train", "train", "test"]
    assert [pair.first for pair in pairs_to_draw(found, parts, 9)] == [4, 2]
    assert [pair.first for pair in pairs_to_draw(found, parts, 1)] == [4]
    assert pairs_to_draw(found, parts, 0) == []


@pytest.fixture
def audit(make_tracks):
    """name -> (label, group, part, analysis) of tracks, and matches by their place, to an audit."""

    def make(tracks, matches=()):
        listed = make_tracks([(name, label, group) for name, (label, group, _, _) in tracks.items()])
        parts = [part for _, _, part, _ in tracks.values()]
        plan = make_plan(JobConfig("in", "out", "music"), listed, parts, {"method": "lists"})
        numbered = sorted(analysis.tracks_of(plan), key=lambda item: item[0].track_id)
        analyses = [tracks[track.track_id][3] for track, _ in numbered]
        return make_audit(plan, numbered, analyses, recordings(analyses, matches), sample_rate=22050)

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
    text = describe(found)
    assert "a (train) = b (test); labelled blues, rock" in text
    assert "the split leaks: 1 recordings and 1 groups" in text


def test_the_limits_of_single_findings(audit):
    ordinary = {f"t{number}": ("rock", "-", "train", sound(str(number))) for number in range(8)}
    found = audit(
        ordinary
        | {
            "clipped": ("rock", "-", "train", sound("c", clipped_share=1e-4)),
            "less": ("blues", "-", "train", sound("d", clipped_share=9e-5, silent_share=0.24, duration_s=27.1)),
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
