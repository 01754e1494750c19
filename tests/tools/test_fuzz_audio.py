import json

import pytest

from benchmarks.processes import MIB, Finished
from tfrecords.manifest import Manifest
from tools import fuzz_audio
from tools.audio_mutants import GOOD, Mutant
from tools.audio_mutations import A_FEW_BITS, END_CUT_OFF


def finished(**changes):
    fields = {"status": 0, "seconds": 1.0, "processor_s": 1.0, "timed_out": False, "peak_bytes": 100 * MIB}
    return Finished(**fields | {"stdout": "", "stderr": "ok"} | changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"status": -11}, "exit status -11"),
        ({"status": -9, "timed_out": True}, "not finished after 60 s"),
        ({"peak_bytes": 700 * MIB}, "peak memory 700 MiB, at most 600 allowed"),
        ({"stderr": "said\nException ignored from cffi callback"}, "on standard error: Exception ignored"),
    ],
)
def test_faults(changes, problem):
    (found,) = fuzz_audio.faults(finished(**changes), peak_mib=600, limit_s=60)
    assert found.startswith(problem)


def test_a_clean_run_has_none():
    assert fuzz_audio.faults(finished(), peak_mib=600, limit_s=60) == []


def test_what_is_lost_rejected_or_unexplained_is_found(own):
    tracks = {record for part in own.records.values() for record in (item.track_id for item in part)}
    reject = {"uri": "", "reason": "empty", "detail": "no samples"}
    lines = [{"track_id": "good.wav"} | reject, {"track_id": "mute.wav"} | reject | {"detail": ""}]
    (own.path / "rejects.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    good, text = Mutant("wav", GOOD), Mutant("wav", "text")
    made = dict.fromkeys(tracks, good) | {"good.wav": good, "mute.wav": text, "gone.wav": text}
    outcomes, problems = fuzz_audio.outcomes_of(own.path, made)
    assert outcomes == dict.fromkeys(tracks, "accepted") | {"good.wav": "empty", "mute.wav": "empty"}
    assert [problem.partition(" ")[0].rstrip(":") for problem in problems] == ["mute.wav", "gone.wav", "good.wav"]
    assert Manifest.load(own.path).parts
    assert fuzz_audio.table_of_mutations(outcomes, made).splitlines()[0].split() == ["mutation", "accepted", "empty"]


def test_little_damage_and_lost_ends_are_counted_for_each_format():
    made = {
        "0": Mutant("mp3", A_FEW_BITS),
        "1": Mutant("mp3", A_FEW_BITS),
        "2": Mutant("mp3", END_CUT_OFF),
        "3": Mutant("wav", GOOD),
    }
    outcomes = {"0": "accepted", "1": "undecodable", "2": "truncated", "3": "accepted"}
    header, row, *_ = fuzz_audio.table_of_formats(outcomes, made).splitlines()
    assert header.split()[:4] == ["format", "accepted", "truncated", "undecodable"]
    assert " ".join(row.split()) == "mp3 1 1 1 1 of 2 1 of 1"


def test_the_job_takes_what_it_is_given(tmp_path, capsys):
    values = fuzz_audio.FLAGS
    values(["", f"--work_dir={tmp_path}", "--files=150", "--good=20"])
    status = fuzz_audio.main(values, [])
    assert status == 0, capsys.readouterr().out
