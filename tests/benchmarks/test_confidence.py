import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from benchmarks import confidence
from tfrecords.common.command_line import UserError
from trainer.evaluation.calibration import Calibration
from trainer.evaluation.confidence import Confidence
from trainer.evaluation.reliability import assess
from trainer.serving.recognizer import SILENT, DecodedTrack


def found_of(tracks=60):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), tracks)
    labels, groups = rng.integers(0, 3, tracks), [str(number // 2) for number in range(tracks)]
    fitted = Confidence.fit(probabilities, labels, groups, rng.random(tracks))
    return assess(fitted, fitted.apply(probabilities, rng.random(tracks)), probabilities, labels, groups)


def write_results(cv_dir, calibration):
    cv_dir.mkdir()
    data = {"name": "some", "tracks": 60, "groups": 30, "folds": 3}
    results = {
        "command": f"python -m trainer.cross_validate --data_dir={cv_dir}/data --job_dir={cv_dir} --model=time",
        "data": data,
        "seeds": [0],
        "models": {"time": {"calibration": calibration}},
    }
    (cv_dir / "results.json").write_text(json.dumps(results))


def test_figures_are_printed_and_kept_without_directories(run, tmp_path):
    write_results(tmp_path / "CV", found_of())
    printed = run(confidence, f"--job_dir={tmp_path / 'CV'}", f"--json_dir={tmp_path}")
    kept = json.loads((tmp_path / "confidence.json").read_text())
    assert str(tmp_path) not in json.dumps(kept) and len(kept["commands"]) == 2
    assert {len(row) for row in kept["rows"]} == {len(kept["columns"])} == {3}
    assert all(row[0] in printed for row in kept["rows"])


def test_results_of_a_version_without_confidence_are_refused(run, tmp_path):
    write_results(tmp_path / "CV", {"raw": found_of()["raw"]})
    with pytest.raises(UserError, match="time has no confidence there"):
        run(confidence, f"--job_dir={tmp_path / 'CV'}")


def test_recordings_come_whole_and_in_pieces(tmp_path):
    (tmp_path / "speech").mkdir()
    soundfile.write(tmp_path / "speech" / "a.wav", np.zeros(22050 * 5), 22050)
    kinds = [kind for kind, _ in confidence.recordings(str(tmp_path), 2.0)]
    assert kinds == ["speech", "speech, pieces of 2 s", "speech, pieces of 2 s"]
    with pytest.raises(UserError, match="no audio there"):
        list(confidence.recordings(str(tmp_path / "none"), 2.0))


class Stub:
    """Hears loudness alone: what is loud is unlike the training music, what is soft is not sure."""

    def decode(self, file):
        loudness = np.abs(soundfile.read(file)[0]).max()
        return DecodedTrack(np.full((1, 1), loudness, np.float32), 1.0, SILENT if loudness < 1e-3 else None)

    def classify(self, tracks):
        calibration = Calibration(temperature=1.0, least_probability=0.1, coverage=0.9, tracks=9, groups=9)
        fitted = Confidence(calibration, error=0.25, sure_from=0.8, farthest=0.5)
        for track in tracks:
            loudness = track.log_mel[0, 0]
            answer = fitted.apply(np.array([0.9, 0.1] if loudness > 0.05 else [0.5, 0.5]), loudness)
            yield SimpleNamespace(note=track.note, answer=None if track.note == SILENT else answer)


def test_shares_are_counted_by_kind_over_sounds_and_models():
    rows = {row["kind"]: row for row in confidence.answers_to([Stub(), Stub()], [*confidence.made_sounds()])}
    assert list(rows) == ["white noise", "pink noise", "brown noise", "one tone", "silence"]
    # Levels of 0.9, 0.1 and 0.01.
    tone = rows["one tone"]
    assert (tone["sounds"], tone["silent"]) == (12, 0)
    assert [tone[name] for name in ("unfamiliar", "not_sure", "refused")] == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    assert (rows["silence"]["sounds"], rows["silence"]["silent"], rows["silence"]["refused"]) == (2, 1, 1)
