import json

import pytest

from beam_predict.predictions import Predictions
from tfrecords.common.command_line import UserError


def test_none_yet(tmp_path):
    assert Predictions.load(str(tmp_path)) is None


@pytest.mark.parametrize(
    "change", [{"format_version": 2}, {"tracks": "3"}, {"more": 1}], ids=["version", "type", "unknown"]
)
def test_predictions_of_another_version(named, tmp_path, change):
    data = json.loads((named / "predictions.json").read_text("utf-8")) | change
    (tmp_path / "predictions.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"predictions\.json: not predictions of this version"):
        Predictions.load(str(tmp_path))


def test_they_are_read_back(named):
    found = Predictions.load(str(named))
    assert found.to_json() == (named / "predictions.json").read_text("utf-8")
