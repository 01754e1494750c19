import cProfile
import pstats
from collections import Counter, defaultdict

import pytest

from beam_preprocess.config import JobConfig
from beam_preprocess.inputs.tracks import list_tracks
from beam_preprocess.job import claim_output
from beam_preprocess.plan import ShardPlan, plan_job
from benchmarks import planning as benchmark
from benchmarks.processes import MIB


@pytest.mark.slow
def test_a_million_tracks(tmp_path):
    number = 1_000_000
    found = benchmark.measured(tmp_path, number)
    stages = ", ".join(f"{stage} {found[f'{stage}_s']:.1f} s" for stage in ("list", "plan", "write"))
    print(f"\n{number:,} tracks: {stages}; {found['own_bytes'] / MIB:.0f} MiB on top of the imports")
    assert found["own_bytes"] < 700 * MIB
    seen, parts_of, labels = set(), defaultdict(set), defaultdict(Counter)
    with (benchmark.plan_dir(tmp_path, number) / ".partial" / "plan.jsonl").open("rb") as lines:
        for shard in map(ShardPlan.from_json, lines):
            assert len(shard.tracks) <= 1000
            for track in shard.tracks:
                seen.add(int(track.track_id.rpartition("/")[2].removesuffix(".flac")))
                parts_of[track.group].add(shard.part)
                labels[track.label][shard.part] += 1
    assert len(seen) == sum(counts.total() for counts in labels.values()) == number
    assert max(seen) == number - 1
    assert {len(parts) for parts in parts_of.values()} == {1}
    assert len(labels) == benchmark.GENRES
    for counts in labels.values():
        assert len(counts) == 10


def test_labels_that_were_made_one_are_recorded(make_tracks, job_config, capfd):
    tracks = make_tracks(
        [(f"{label}/{number}.wav", label) for label in ("Rock", "rock", "jazz") for number in range(4)]
    )
    plan = plan_job(job_config("/in", "/out", merge_labels=True), tracks)
    assert plan.labels == ("Rock", "jazz")
    assert plan.split["merged_labels"] == {"Rock": ["Rock", "rock"]}
    said = capfd.readouterr().err
    assert "'Rock' and 'rock'" in said
    assert "warning" not in said
    plan = plan_job(job_config("/in", "/out"), tracks)
    assert plan.labels == ("Rock", "jazz", "rock")
    assert "merged_labels" not in plan.split
    assert "warning: labels" in capfd.readouterr().err


def test_the_work_grows_as_the_tracks_do(tmp_path):
    def calls(number):
        source = str(benchmark.write_csv(tmp_path / f"{number}.csv", number))
        config = JobConfig(source, str(tmp_path / f"{number}"), "music")
        with cProfile.Profile() as profile:
            claim_output(config.output, plan_job(config, list_tracks(source)), overwrite=False)
        return pstats.Stats(profile).total_calls

    # 64 shards or so in either case, so the rest of the growth is by tracks alone.
    assert calls(20_000) < 11 * calls(2_000)
