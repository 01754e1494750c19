import importlib.util
import re

import pytest

from benchmarks import probe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("musicnn") is None, reason="the published weights are not installed"),
]


def test_a_training_and_its_speed_are_printed(run, tmp_path, monkeypatch):
    # On few clips all that is measured is the start.
    monkeypatch.setattr(probe, "MAX_TRAINING_S", 1e6)
    monkeypatch.setattr(probe, "MIN_SPEED", 0)
    printed = run(probe, "--clips=30", "--seconds=4", f"--work_dir={tmp_path}")
    assert re.search(r"30 clips of 4 s .* trained in [\d.]+ s .* names genres at \d+ times real time", printed)
