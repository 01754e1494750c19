import numpy as np
import pytest

from tfrecords.common.command_line import UserError
from trainer.evaluation.pooling import PooledPredictions
from trainer.evaluation.saved_predictions import FoldPredictions
from trainer.training.training_state import TrainingState


@pytest.mark.parametrize("load", [FoldPredictions.load, PooledPredictions.load, TrainingState.load])
@pytest.mark.parametrize(("place", "value", "why"), [(6, 1, "encrypted"), (8, 99, "compression")])
def test_a_zip_of_another_kind_is_one_line(tmp_path, load, place, value, why):
    path = tmp_path / "file.npz"
    names = ("numbers", "track_ids", "groups", "label_names", "models")
    np.savez(path, **{name: np.array([b"a"]) for name in names})
    data = path.read_bytes()
    # The flags and the compression of every file, which the directory at the end tells again two bytes further on.
    for start, field in ((b"PK\3\4", place), (b"PK\1\2", place + 2)):
        pieces = data.split(start)
        pieces[1:] = [bytes([*piece[: field - 4], value, *piece[field - 3 :]]) for piece in pieces[1:]]
        data = start.join(pieces)
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"^{path}: not the .*{why}"):
        load(path)
