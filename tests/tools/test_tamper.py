import random
import shutil
from collections import Counter

import pytest

from tfrecords.manifest import FILE_NAME
from tools import tamper
from tools.json_edits import edited_json

EDITS = 150


@pytest.fixture
def data(tmp_path, tiny):
    return shutil.copytree(tiny.path, tmp_path / "data")


def outcomes_of(path, commands, *, seed):
    """How often each exit status was, after each of some edits of a file."""
    rng, original, found = random.Random(seed), path.read_bytes(), Counter()
    for _ in range(EDITS):
        path.write_bytes(tamper.edited(path.name, original, rng))
        for command in commands:
            outcome = tamper.run(command, limit_s=60)
            assert outcome.status is not None, f"{command}: {outcome.text}\n{path.read_text('utf-8', 'replace')[:3000]}"
            found[outcome.status] += 1
        assert tamper.wrongly_accepted(path) is None
    return found


def test_an_edited_manifest_is_taken_or_refused_in_one_line(data):
    commands = [("tfrecords", "info", str(data)), ("tfrecords", "verify", str(data))]
    found = outcomes_of(data / FILE_NAME, commands, seed=0)
    assert found[0] > 20
    assert found[2] > EDITS


def test_edits_are_of_every_kind():
    rng = random.Random(0)
    texts = [edited_json('{"a": [1, 2], "b": {"c": "x"}}', rng) for _ in range(300)]
    assert len(set(texts)) > 100
    assert any("NaN" in text for text in texts)
    assert any("../" in text for text in texts)
    assert any(len(text) > 100_000 for text in texts)
    assert any(text == '{"a": [1, 2]}' for text in texts)


def test_a_traceback_is_a_problem(monkeypatch, data):
    monkeypatch.setattr("tfrecords.info.part_label_table", lambda manifest: 1 / 0)
    assert "ZeroDivisionError" in tamper.run(("tfrecords", "info", str(data)), limit_s=60).text
