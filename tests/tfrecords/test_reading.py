import dataclasses
import json
import re
import shutil

import pytest
import tensorflow as tf

from tfrecords.common.command_line import UserError
from tfrecords.reader import load
from tfrecords.records import iterate
from tfrecords.schema import encode
from tfrecords.shard import RecordWriter, ShardError
from tfrecords.sources import raise_shard_errors

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


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("byte", [0, 1, 7, 8, 11, 12, 40, -4, -1])
def test_it_is_found_while_batches_are_read_and_reading_says_where(copy, byte, training):
    path, content, second = copy
    position = second + byte if byte >= 0 else len(content) + byte
    flip(path, content, 8 * position + 3)
    batches = load(path.parent, patch_frames=2, training=training)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: (corrupt|torn) at byte"), raise_shard_errors():
        list(batches)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: (corrupt|torn) at byte"):
        load(path.parent, patch_frames=2, in_memory=True)


def test_counting_before_reading_says_where_too(own):
    path = own.shards("fold_1")[0]
    flip(path, path.read_bytes(), 8 * _HEADER_BYTES)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: corrupt at byte 0"):
        load(own.path, patch_frames=2, num_hosts=2)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("label", [-1, 99])
def test_a_label_that_is_none_is_told_with_its_record(small, copy, label, training):
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
    with pytest.raises(UserError, match=f"{message}; write the dataset again$"), raise_shard_errors():
        list(load(path.parent, patch_frames=2, training=training))
    with pytest.raises(UserError, match=message):
        load(path.parent, patch_frames=2, training=training, in_memory=True)


def test_an_error_of_a_model_passes_and_no_shard_is_read_for_it(own):
    for path in own.shards("fold_0", "fold_1", "fold_2"):
        flip(path, path.read_bytes(), 8 * _HEADER_BYTES)
    with pytest.raises(tf.errors.InvalidArgumentError, match="bad shape"), raise_shard_errors():
        raise tf.errors.InvalidArgumentError(None, None, "bad shape")


def test_an_error_of_a_model_passes_while_a_fault_waits_ahead(own):
    path = own.shards("fold_0")[1]
    flip(path, path.read_bytes(), 8 * _HEADER_BYTES)
    with pytest.raises(tf.errors.InvalidArgumentError, match="bad shape"), raise_shard_errors():
        with pytest.raises(tf.errors.InvalidArgumentError, match="corrupt at byte 0"):
            list(load(own.path, patch_frames=2))
        raise tf.errors.InvalidArgumentError(None, None, "bad shape")


def test_what_looks_like_a_shards_error_is_none():
    with pytest.raises(tf.errors.InvalidArgumentError, match="ShardError: a"), raise_shard_errors():
        raise tf.errors.InvalidArgumentError(None, None, "ShardError: a: corrupt at byte 0")


def test_each_of_several_that_read_is_told(own):
    first, second = own.shards("fold_0")[0], own.shards("fold_1")[0]
    for path in (first, second):
        flip(path, path.read_bytes(), 8 * _HEADER_BYTES)
    with raise_shard_errors():
        for path, part in ((second, "fold_1"), (first, "fold_0")):
            with pytest.raises(UserError, match=f"^{re.escape(str(path))}: corrupt at byte 0"), raise_shard_errors():
                list(load(own.path, parts=[part], patch_frames=2))


def test_a_directory_whose_name_is_no_utf_8(own, tmp_path):
    data_dir = shutil.copytree(own.path, tmp_path / "odd\udcff")
    path = data_dir / own.shards("fold_1")[0].name
    flip(path, path.read_bytes(), 8 * _HEADER_BYTES)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: corrupt at byte 0"), raise_shard_errors():
        list(load(data_dir, patch_frames=2))
