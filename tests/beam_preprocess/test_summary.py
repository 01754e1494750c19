import json

import pytest

from beam_preprocess.plan import make_plan
from beam_preprocess.summary import by_label, log_rejects, log_summary


def test_rejects_are_told_by_label_and_by_format(make_tracks, job_config, tmp_path, capfd):
    rejected = {
        **{f"rock/{number}.mid": "unsupported_format" for number in range(6)},
        "rock/x.wav": "empty",
        "jazz/a": "unsupported_format",
        "jazz/b.TAK": "unsupported_format",
    }
    names = [*rejected, "rock/good.wav", "jazz/good.wav", "pop/good.wav"]
    config = job_config("/in", tmp_path)
    plan = make_plan(
        config, make_tracks([(name, name.partition("/")[0]) for name in names]), ["train"] * len(names), {}
    )
    log_rejects(config, plan)
    assert capfd.readouterr().err == ""
    lines = [json.dumps({"track_id": name, "reason": reason}) for name, reason in rejected.items()]
    (tmp_path / "rejects.jsonl").write_text("\n".join(lines))
    log_rejects(config, plan)
    labels, formats = capfd.readouterr().err.splitlines()
    assert "rock 7 of 8, jazz 2 of 3" in labels
    assert "pop" not in labels
    assert "unsupported_format" in formats
    assert "rock: 6 .mid; jazz: 1 without an ending, 1 .tak" in formats


def test_metrics_that_are_not_there_are_missed_by_name(make_tracks, job_config, tmp_path):
    config = job_config("/in", tmp_path)
    plan = make_plan(config, make_tracks([("rock/a.wav", "rock")]), ["train"], {})
    with pytest.raises(FileNotFoundError, match=r"metrics\.json"):
        log_summary(config, plan, None, 1.0)


def test_the_label_that_loses_most_comes_first():
    assert by_label(["a"] * 3 + ["b"] * 2, {"a": 30, "b": 2, "c": 1}) == "b 2 of 2, a 3 of 30"
