import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfrecords import schema
from tfrecords.schema import Record, decode, encode

ROOT = Path(__file__).parents[2]

# Any file name of Linux: text, and bytes that are no UTF-8 as surrogates.
NAMES = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape")),
)
INT64 = st.integers(-(2**63), 2**63 - 1)
LOG_MELS = st.sampled_from([np.float16, np.float32]).flatmap(
    lambda dtype: hnp.arrays(dtype, st.tuples(st.integers(1, 6), st.integers(1, 5)))
)
RECORDS = st.builds(Record, track_id=NAMES, group=NAMES, label=INT64, segment=INT64, log_mel=LOG_MELS)


def record(**changes):
    values = {"track_id": "a", "group": "b", "label": 1, "segment": 0, "log_mel": np.ones((3, 4), np.float16)}
    return Record(**(values | changes))


def as_tensorflow(item):
    """The same record built with TensorFlow's own classes."""
    import tensorflow as tf

    def feature(value):
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    little_endian = item.log_mel.astype(item.log_mel.dtype.newbyteorder("<"))
    features = {
        "log_mel": little_endian.tobytes(),
        "track_id": item.track_id.encode("utf-8", "surrogateescape"),
        "group": item.group.encode("utf-8", "surrogateescape"),
        "label": item.label,
        "segment": item.segment,
        "frames": item.log_mel.shape[0],
    }
    return tf.train.Example(
        features=tf.train.Features(feature={name: feature(value) for name, value in features.items()})
    )


@hypothesis.given(RECORDS)
@hypothesis.settings(deadline=None, max_examples=80)
def test_a_record_comes_back_exactly(item):
    found = decode(encode(item), mel_bands=item.log_mel.shape[1], dtype=item.log_mel.dtype.name)
    assert (found.track_id, found.group) == (item.track_id, item.group)
    assert (found.label, found.segment) == (item.label, item.segment)
    assert (found.log_mel.dtype, found.log_mel.shape) == (item.log_mel.dtype, item.log_mel.shape)
    assert found.log_mel.tobytes() == item.log_mel.tobytes()  # NaN included


@hypothesis.given(RECORDS)
@hypothesis.settings(deadline=None, max_examples=80)
def test_the_bytes_are_those_of_tensorflow(item):
    assert encode(item) == as_tensorflow(item).SerializeToString(deterministic=True)


def test_tensorflow_reads_what_was_written():
    import tensorflow as tf

    parsed = tf.train.Example.FromString(encode(record(track_id="é", label=-7)))
    assert parsed == as_tensorflow(record(track_id="é", label=-7))


def test_layout_and_byte_order_of_the_array_do_not_matter():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    for same in (values.astype(">f4"), np.asfortranarray(values), np.repeat(values, 2, axis=0)[::2]):
        assert encode(record(log_mel=same)) == encode(record(log_mel=values))


@pytest.mark.parametrize(
    ("log_mel", "got"),
    [
        (np.ones((3, 4)), r"got float64 \(3, 4\)"),
        (np.ones((3, 4), np.int16), r"got int16 \(3, 4\)"),
        (np.ones(3, np.float16), r"got float16 \(3,\)"),
        (np.ones((3, 4, 1), np.float16), r"got float16 \(3, 4, 1\)"),
        (np.ones((0, 4), np.float16), r"got float16 \(0, 4\)"),
    ],
)
def test_what_is_no_spectrogram_is_not_written(log_mel, got):
    with pytest.raises(ValueError, match=got):
        encode(record(log_mel=log_mel))


@pytest.mark.parametrize("name", sorted(schema.FEATURES))
def test_a_record_without_a_feature_is_refused(name):
    message = as_tensorflow(record())
    del message.features.feature[name]
    with pytest.raises(ValueError, match=f"feature '{name}' must hold one value, got 0"):
        decode(message.SerializeToString(), mel_bands=4, dtype="float16")


@pytest.mark.parametrize("name", sorted(schema.FEATURES))
def test_a_feature_of_another_kind_or_number_is_refused(name):
    message = as_tensorflow(record())
    message.features.feature[name].float_list.value.append(1.0)
    with pytest.raises(ValueError, match=f"feature '{name}' must hold one value, got 0"):
        decode(message.SerializeToString(), mel_bands=4, dtype="float16")
    message = as_tensorflow(record())
    values = getattr(message.features.feature[name], message.features.feature[name].WhichOneof("kind")).value
    values.append(values[0])
    with pytest.raises(ValueError, match=f"feature '{name}' must hold one value, got 2"):
        decode(message.SerializeToString(), mel_bands=4, dtype="float16")


def test_what_features_are_does_not_hang_on_how_they_are_described(monkeypatch):
    monkeypatch.setattr(schema, "FEATURES", dict.fromkeys(schema.FEATURES, "in other words"))
    assert decode(encode(record()), mel_bands=4, dtype="float16").track_id == record().track_id


@pytest.mark.parametrize(("mel_bands", "dtype"), [(3, "float16"), (8, "float16"), (4, "float32")])
def test_a_log_mel_of_another_size_is_refused(mel_bands, dtype):
    with pytest.raises(ValueError, match=r"log_mel of 3 frames must hold .* bytes, got 24"):
        decode(encode(record()), mel_bands=mel_bands, dtype=dtype)


@pytest.mark.parametrize("frames", [-3, 0, 2, 2**62])
def test_a_number_of_frames_that_is_not_so_is_refused(frames):
    message = as_tensorflow(record())
    message.features.feature["frames"].int64_list.value[0] = frames
    if frames == 0:
        message.features.feature["log_mel"].bytes_list.value[0] = b""
    with pytest.raises(ValueError, match=f"log_mel of {frames} frames must hold"):
        decode(message.SerializeToString(), mel_bands=4, dtype="float16")


def test_garbage_is_a_value_error():
    with pytest.raises(ValueError, match=r"not a tf\.train.Example"):
        decode(b"\xff\xff garbage", mel_bands=4, dtype="float16")
    with pytest.raises(ValueError, match="must hold one value"):
        decode(b"", mel_bands=4, dtype="float16")


@hypothesis.given(st.binary(max_size=80))
@hypothesis.settings(deadline=None, max_examples=100)
def test_any_bytes_are_a_record_or_a_value_error(data):
    with pytest.raises(ValueError, match=r"not a tf\.train.Example|must hold"):
        decode(data, mel_bands=4, dtype="float16")


@pytest.mark.parametrize(
    "module", ["tfrecords, tfrecords.dataset, tfrecords.tfds, tfrecords.show", "beam_preprocess.pipeline"]
)
def test_writing_does_not_import_tensorflow(module):
    code = f"import sys, {module}; print(sorted({{'tensorflow', 'keras'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
