import errno
import hashlib
import io
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tfrecords.schema import Record, decode, encode
from tfrecords.shard import RecordWriter, ShardError, masked_crc32c, read_records, shard_file

# Written by TensorFlow's own TFRecordWriter and tf.train.Example.
GOLDEN = Path(__file__).parent / "golden" / "tiny-train.tfrecord-00000-of-00001"


def golden_records():
    return [
        Record("rock/Björk ♫.wav", "Björk", 1, 0, np.arange(12, dtype=np.float16).reshape(3, 4) / 8),
        Record("rock/\udcff.ogg", "\udcff", 300, 0, -np.arange(8, dtype=np.float16).reshape(2, 4)),
        Record("rock/\udcff.ogg", "\udcff", 300, 1, np.full((1, 4), 65504, np.float16)),
    ]


def read(data):
    return list(read_records(io.BytesIO(data), "a shard"))


def written(records):
    file = io.BytesIO()
    writer = RecordWriter(file)
    for record in records:
        writer.write(record)
    return writer, file.getvalue()


def boundaries(data):
    """Offsets at which a record begins, and the end."""
    offsets = [0]
    for record in read(data):
        offsets.append(offsets[-1] + 16 + len(record))
    return offsets


def test_the_golden_shard_reads_back_to_known_values():
    decoded = [decode(record, mel_bands=4, dtype="float16") for record in read(GOLDEN.read_bytes())]
    for found, expected in zip(decoded, golden_records(), strict=True):
        assert (found.track_id, found.group, found.label) == (expected.track_id, expected.group, expected.label)
        assert found.segment == expected.segment
        assert found.log_mel.dtype == np.float16
        np.testing.assert_array_equal(found.log_mel, expected.log_mel)


def test_the_golden_shard_is_written_again_byte_for_byte():
    assert written(map(encode, golden_records()))[1] == GOLDEN.read_bytes()


def test_an_empty_file_holds_no_records():
    assert read(b"") == []


def test_a_shard_torn_anywhere_but_between_records_is_an_error_with_name_and_offset():
    data = GOLDEN.read_bytes()
    starts = boundaries(data)
    assert starts[-1] == len(data) and len(starts) == 4
    for size in range(len(data)):
        if size in starts:
            assert read(data[:size]) == read(data)[: starts.index(size)]
            continue
        begun = max(start for start in starts if start < size)
        with pytest.raises(ShardError, match=rf"^a shard: torn at byte {begun}: the file ends inside"):
            read(data[:size])


def test_every_flipped_bit_is_an_error_with_name_and_offset():
    data = GOLDEN.read_bytes()
    starts = boundaries(data)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        record = max(start for start in starts if start <= bit // 8)
        with pytest.raises(ShardError, match=rf"^a shard: corrupt at byte {record}: "):
            read(bytes(flipped))


def test_the_records_before_a_torn_one_are_still_given():
    data = GOLDEN.read_bytes()
    reader = read_records(io.BytesIO(data[:-1]), "a shard")
    assert [next(reader), next(reader)] == read(data)[:2]
    with pytest.raises(ShardError):
        next(reader)


def test_a_disk_that_fails_is_named():
    class Broken(io.BytesIO):
        def read(self, size):
            if self.tell():
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    with pytest.raises(ShardError, match=r"^a shard cannot be read: Input/output error$"):
        list(read_records(Broken(GOLDEN.read_bytes()), "a shard"))


@pytest.mark.parametrize("data", [b"garbage", b"\0" * 64, b"RIFF" + bytes(range(200))])
def test_what_is_no_tfrecord_is_an_error(data):
    with pytest.raises(ShardError, match=r"a shard: .* at byte 0"):
        read(data)


def test_an_absurd_length_is_not_believed_even_with_a_good_checksum():
    length = (1 << 62).to_bytes(8, "little")
    header = length + masked_crc32c(length).to_bytes(4, "little")
    with pytest.raises(ShardError, match="corrupt at byte 0"):
        read(header + b"data")


@hypothesis.given(st.lists(st.binary(max_size=300), max_size=5))
@hypothesis.settings(deadline=None, max_examples=50)
def test_records_of_any_bytes_come_back(records):
    writer, data = written(records)
    assert read(data) == records
    assert (writer.records, writer.size) == (len(records), len(data))


def test_the_writer_knows_the_checksum_of_what_it_wrote():

    writer, data = written([b"one", b"", b"three"])
    assert writer.sha256 == hashlib.sha256(data).hexdigest()


@hypothesis.given(st.lists(st.binary(max_size=300), min_size=1, max_size=4))
@hypothesis.settings(deadline=None, max_examples=20)
def test_the_file_equals_that_of_tensorflows_writer(tmp_path_factory, records):
    import tensorflow as tf

    path = tmp_path_factory.mktemp("tf") / "shard"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    assert path.read_bytes() == written(records)[1]


def test_shard_files_sort_by_name_as_by_index():
    assert shard_file("gtzan", "fold_0", 0, 4) == "gtzan-fold_0.tfrecord-00000-of-00004"
    names = [shard_file("x", "train", index, 1200) for index in range(1200)]
    assert sorted(names) == names
