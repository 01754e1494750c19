import dataclasses
import json
import re
import shutil

import pytest
import tensorflow as tf

from tfrecords.command_line import UserError
from tfrecords.dataset import load
from tfrecords.example import encode
from tfrecords.options import ReaderOptions
from tfrecords.reading import reading
from tfrecords.records import iterate
from tfrecords.shard import RecordWriter, ShardError

_HEADER_BYTES = 12


@pytest.fixture(scope="module")
def small(tmp_path_factory, write_dataset):
    sizes = {"tracks_per_label": 1, "mel_bands": 2, "frames": (2, 2), "shards_per_part": 1}
    return write_dataset(tmp_path_factory.mktemp("small") / "dataset", parts=("train",), **sizes)


@pytest.fixture
def copy(small, tmp_path):
    """A copy that a test may damage: its shard, its bytes, and the offset of its second record."""
    shutil.copytree(small.path, tmp_path / "copy")
    path = tmp_path / "copy" / small.shards("train")[0].name
    content = path.read_bytes()
    return path, content, 16 + int.from_bytes(content[:8], "little")


def flip(path, content, bit):
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)


def test_every_single_bit_that_flips_is_found(small, copy):
    path, content, second = copy
    for bit in range(8 * len(content)):
        flip(path, content, bit)
        with pytest.raises(ShardError, match=f"^{re.escape(str(path))}: (corrupt|torn) at byte") as error:
            list(iterate(small.manifest, path.parent, "train"))
        offset = int(re.search(r"at byte (\d+)", str(error.value))[1])
        assert offset == (0 if bit // 8 < second else second) or bit // 8 >= 2 * second - 40


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("byte", [0, 1, 7, 8, 11, 12, 40, -4, -1])
def test_it_is_found_while_batches_are_read_and_reading_says_where(copy, byte, training, in_graph):
    path, content, second = copy
    position = second + byte if byte >= 0 else len(content) + byte
    flip(path, content, 8 * position + 3)
    batches = load(path.parent, patch_frames=2, training=training, options=ReaderOptions(in_graph=in_graph))
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: (corrupt|torn) at byte"), reading(path.parent):
        list(batches)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: (corrupt|torn) at byte"):
        load(path.parent, patch_frames=2, options=ReaderOptions(cache="memory"))


def test_only_the_parts_that_are_read_are_searched(own):
    for part in ("fold_0", "fold_2"):
        path = own.shards(part)[0]
        flip(path, path.read_bytes(), 8 * _HEADER_BYTES)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: corrupt at byte 0"), reading(own.path, ["fold_2"]):
        list(load(own.path, parts=["fold_2"], patch_frames=2))


def test_counting_before_reading_says_where_too(own):
    path = own.shards("fold_1")[0]
    flip(path, path.read_bytes(), 8 * _HEADER_BYTES)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: corrupt at byte 0"):
        load(own.path, patch_frames=2, num_hosts=2)


@pytest.mark.parametrize("in_graph", [False, True])
def test_a_shard_that_goes_away_is_named(own, in_graph):
    batches = load(own.path, patch_frames=2, options=ReaderOptions(in_graph=in_graph))
    path = own.shards("fold_1")[0]
    path.unlink()
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}.*; write the dataset again"), reading(own.path):
        list(batches)


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("label", [-1, 99])
def test_a_label_that_is_none_is_told_with_its_record(small, copy, label, training, in_graph):
    path, content, second = copy
    records = [dataclasses.replace(small.records["train"][1], label=label)]
    with path.open("wb") as file:
        file.write(content[:second])
        writer = RecordWriter(file)
        for record in (*records, *small.records["train"][2:]):
            writer.write(encode(record))
    # So that it has the size that the manifest says, whatever the label takes.
    manifest = json.loads((path.parent / "manifest.json").read_text())
    manifest["parts"]["train"]["shards"][0]["bytes"] = path.stat().st_size
    (path.parent / "manifest.json").write_text(json.dumps(manifest))
    message = f"^{re.escape(str(path))}: record 1: label {label} is none of the 3 labels"
    with pytest.raises(UserError, match=f"{message}; write the dataset again$"), reading(path.parent):
        list(load(path.parent, patch_frames=2, training=training, options=ReaderOptions(in_graph=in_graph)))
    with pytest.raises(UserError, match=message):
        load(path.parent, patch_frames=2, training=training, options=ReaderOptions(cache="memory"))


def test_other_errors_of_tensorflow_pass(tiny):
    with pytest.raises(tf.errors.InvalidArgumentError, match="bad shape"), reading(tiny.path):
        raise tf.errors.InvalidArgumentError(None, None, "bad shape")


def test_damage_that_is_gone_when_it_is_looked_for(tiny):
    message = f"^{tiny.path}: TensorFlow met corrupt data .at 7., but the shards are sound"
    with pytest.raises(UserError, match=message), reading(tiny.path):
        raise tf.errors.DataLossError(None, None, "at 7")
