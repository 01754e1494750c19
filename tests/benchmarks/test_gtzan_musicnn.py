import json

import numpy as np
import pytest

from beam_preprocess.gtzan import facts
from benchmarks import gtzan_musicnn
from tfrecords.common.command_line import UserError


def write_features(folder, *, wrong=()):
    """Two rows a clip, the genre's own tag high; of the clips in `wrong` the next genre's."""
    lists = facts.split_lists("gtzan_filtered")
    for name, paths in ((gtzan_musicnn.TRAINING, lists["train"]), (gtzan_musicnn.TEST, lists["test"])):
        ids = np.repeat([path.replace(".wav", ".au") for path in paths], 2)
        rng = np.random.default_rng(0)
        rows = rng.normal(scale=0.01, size=(len(ids), 50)).astype(np.float32)
        for row, path in zip(rows, ids, strict=True):
            clip = facts.clip_of(path)
            row[(facts.GENRES.index(facts.genre_of(clip)) + (clip in wrong)) % 10] += 1
        np.savez(folder / name, X=rows, Y=np.zeros(len(ids), np.int64), IDS=ids)


def test_all_clips_and_those_of_new_artists(run, tmp_path):
    lists = facts.split_lists("gtzan_filtered")
    trained = {facts.groups().get(facts.clip_of(path)) for path in lists["train"]} - {None}
    known = [clip for path in lists["test"] if facts.groups().get(clip := facts.clip_of(path)) in trained]
    write_features(tmp_path, wrong=known)
    run(gtzan_musicnn, f"--features={tmp_path}", f"--json={tmp_path / 'scores.json'}")
    every, new = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert (every["tracks"], new["tracks"]) == (290, 290 - len(known))
    assert (every["accuracy"], new["accuracy"]) == (pytest.approx(1 - len(known) / 290), 1)


def test_files_that_are_not_there_or_not_features(run, tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        run(gtzan_musicnn, f"--features={tmp_path}")
    np.savez(tmp_path / gtzan_musicnn.TRAINING, other=np.zeros(3))
    with pytest.raises(UserError, match="does not hold X"):
        run(gtzan_musicnn, f"--features={tmp_path}")
