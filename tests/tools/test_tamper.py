import random
import shutil
from collections import Counter

from tfrecords.manifest import FILE_NAME
from tools import tamper

EDITS = 150


def test_an_edited_manifest_is_taken_or_refused_in_one_line(tmp_path, tiny):
    path = shutil.copytree(tiny.path, tmp_path / "data") / FILE_NAME
    rng, original, found = random.Random(0), path.read_bytes(), Counter()
    for _ in range(EDITS):
        path.write_bytes(tamper.edited(FILE_NAME, original, rng))
        for command in ("info", "verify"):
            outcome = tamper.run(("tfrecords", command, str(path.parent)), limit_s=60)
            assert outcome.status is not None, f"{command}: {outcome.text}\n{path.read_text('utf-8', 'replace')[:3000]}"
            found[outcome.status] += 1
        assert tamper.wrongly_accepted(path) is None
    assert found[0] > 20
    assert found[2] > EDITS
