import json

import apache_beam as beam
import pytest
from apache_beam.io.filesystem import BeamIOError

from beam_preprocess import engine
from beam_preprocess.storage import OutputError, message_in, reading_from, writing_to
from tfrecords.common.command_line import UserError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device", "/x"), '/a "b"\n{é} cannot be written: No space left on device'),
        (BeamIOError("Rename failed", {"a": "403\n  no"}), '/a "b"\n{é} cannot be written: 403 no'),
    ],
)
@pytest.mark.parametrize("mode", ["in_memory", "multi_threading"])
def test_the_launcher_finds_it_in_what_beam_makes_of_it(error, told, mode):
    def write(_):
        with writing_to('/a "b"\n{é}'):
            raise error

    def explain(text):
        raise UserError(message_in(text))

    options = engine.parse_options([f"--direct_running_mode={mode}"])
    with pytest.raises(UserError) as info:
        engine.run_pipeline(options, lambda job: job | beam.Create([1]) | beam.Map(write), explain=explain)
    assert str(info.value) == told


def test_the_last_one_counts_and_what_looks_like_one_does_not():
    first, last = (str(OutputError.of(where, OSError(28, "full"))) for where in ("/a", "/b"))
    assert message_in(f"{first}\nthen {last} [while running 'X']\nOSError: [Errno 5] other") == "/b: full"
    assert message_in(f"{first} {last[:-3]}") == "/a: full"
    assert message_in(first.replace(json.dumps("reason"), '"other"')) is None
    assert message_in("OSError: [Errno 28] No space left [while running 'WriteShard']") is None


def test_reading_is_told_as_such():
    with pytest.raises(OutputError) as info, reading_from("/out/plan.jsonl"):
        raise PermissionError(13, "Permission denied", "/x")
    assert message_in(str(info.value)) == "/out/plan.jsonl cannot be read: Permission denied"


def test_a_fault_of_ours_stays_what_it_is():
    with pytest.raises(KeyError), writing_to("/a"):
        raise KeyError("name")
