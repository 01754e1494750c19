import io

from beam_preprocess.audit import analysis
from beam_preprocess.audit.analysis import Sound
from beam_preprocess.audit.job import AuditProgress
from beam_preprocess.config import JobConfig
from beam_preprocess.plan import make_plan
from beam_preprocess.write_shard import Rejected


def test_batches_that_were_heard_count(tmp_path, make_tracks):
    (tmp_path / ".partial").mkdir()
    tracks = make_tracks([(f"{index}.wav", "rock") for index in range(10)])
    plan = make_plan(JobConfig("in", "out", "music", num_shards=2), tracks, ["a"] * 10, {})
    with AuditProgress.of(str(tmp_path), plan, io.StringIO()) as shown:
        reject = Rejected("4.wav", "/in/4.wav", "empty", "no samples")
        analysis.write_analysis(str(tmp_path), 1, [Sound(30.0, 8000, 1, 0, 0, False, "x")] * 4 + [reject])
        shown._look()
        assert shown.line().startswith("5 of 10 tracks, 1 rejected")


def test_an_output_elsewhere_is_not_watched(make_tracks):
    plan = make_plan(JobConfig("in", "out", "music"), make_tracks([("0.wav", "rock")]), ["a"], {})
    with AuditProgress.of("gs://bucket/out", plan, io.StringIO()) as shown:
        assert shown is None
