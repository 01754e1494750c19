"""The schema of a record, a tf.train.Example: its features, encoding and decoding.

The message classes live in a private descriptor pool: writing needs protobuf but not TensorFlow, and a process that
imports TensorFlow later does not register tf.train.Example twice.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

TRACK_ID = "track_id"
GROUP = "group"
LABEL = "label"
SEGMENT = "segment"
FRAMES = "frames"
LOG_MEL = "log_mel"

# Kinds of a feature's list of values.
_BYTES, _INT64 = "bytes_list", "int64_list"
_SCHEMA = {
    TRACK_ID: (_BYTES, "the file's path below the input, UTF-8"),
    GROUP: (_BYTES, "what no split tears apart (the artist), UTF-8; the track_id where none was given"),
    LABEL: (_INT64, "index into labels"),
    SEGMENT: (_INT64, "position of this record in its track, from 0"),
    FRAMES: (_INT64, "number of frames in log_mel"),
    LOG_MEL: (_BYTES, "[frames, mel_bands], C order, little-endian, of the manifest's dtype"),
}

# Feature -> its description; written to the manifest for readers without this code.
FEATURES = {name: f"{kind.removesuffix('_list')}: {meaning}" for name, (kind, meaning) in _SCHEMA.items()}

# dtype in the manifest -> layout of the bytes.
DTYPES: dict[str, np.dtype] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}


@dataclasses.dataclass(frozen=True)
class Record:
    """One clip, or one segment of a long one.

    Attributes:
      track_id: path of the audio file below the input.
      group: what a split must not tear apart (the artist).
      label: index into the manifest's labels.
      segment: position of this record in its track, from 0.
      log_mel: [frames, mel_bands], float16 or float32.

    Example:
      >>> record = Record("rock/a.wav", "The Examples", label=3, segment=0, log_mel=np.zeros((80, 40), np.float16))
      >>> record.track_id, record.log_mel.shape
      ('rock/a.wav', (80, 40))
    """

    track_id: str
    group: str
    label: int
    segment: int
    log_mel: np.ndarray


def _example_class() -> Any:
    """Return tf.train.Example as TensorFlow's example.proto and feature.proto define it, from a private pool."""
    field = descriptor_pb2.FieldDescriptorProto
    proto = descriptor_pb2.FileDescriptorProto(name="tensorflow/core/example/example.proto", package="tensorflow")
    proto.syntax = "proto3"
    for name, kind in (
        ("BytesList", field.TYPE_BYTES),
        ("FloatList", field.TYPE_FLOAT),
        ("Int64List", field.TYPE_INT64),
    ):
        value = proto.message_type.add(name=name).field.add(
            name="value", number=1, type=kind, label=field.LABEL_REPEATED
        )
        value.options.packed = kind != field.TYPE_BYTES
        if kind == field.TYPE_BYTES:
            value.ClearField("options")
    feature = proto.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("bytes_list", "float_list", "int64_list"), start=1):
        kind = name.title().replace("_", "")
        _add_message_field(feature, name, number, f".tensorflow.{kind}").oneof_index = 0
    features = proto.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    _add_message_field(entry, "value", 2, ".tensorflow.Feature")
    _add_message_field(features, "feature", 1, ".tensorflow.Features.FeatureEntry").label = field.LABEL_REPEATED
    _add_message_field(proto.message_type.add(name="Example"), "features", 1, ".tensorflow.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def _add_message_field(parent: Any, name: str, number: int, type_name: str) -> Any:
    field = descriptor_pb2.FieldDescriptorProto
    return parent.field.add(
        name=name, number=number, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL, type_name=type_name
    )


_Example = _example_class()


def encode(record: Record) -> bytes:
    """Serialize a record; the same record always gives the same bytes (map keys are sorted).

    Raises:
      ValueError: log_mel is not [frames >= 1, mel_bands] of a dtype in DTYPES.
    """
    log_mel = record.log_mel
    if log_mel.ndim != 2 or not len(log_mel) or log_mel.dtype.name not in DTYPES:
        raise ValueError(
            f"log_mel must be [frames >= 1, mel_bands] of {' or '.join(DTYPES)}, got {log_mel.dtype} {log_mel.shape}"
        )
    example = _Example()
    feature = example.features.feature
    feature[TRACK_ID].bytes_list.value.append(to_bytes(record.track_id))
    feature[GROUP].bytes_list.value.append(to_bytes(record.group))
    feature[LABEL].int64_list.value.append(record.label)
    feature[SEGMENT].int64_list.value.append(record.segment)
    feature[FRAMES].int64_list.value.append(len(log_mel))
    little_endian = log_mel.astype(DTYPES[log_mel.dtype.name], copy=False)
    feature[LOG_MEL].bytes_list.value.append(little_endian.tobytes())
    return example.SerializeToString(deterministic=True)


def decode(serialized: bytes, *, mel_bands: int, dtype: str) -> Record:
    """Parse a record that `encode` serialized.

    Args:
      serialized: a tf.train.Example.
      mel_bands: mel bands of the record.
      dtype: the record's dtype, one of DTYPES.

    Raises:
      ValueError: the bytes are not an Example, a feature is missing, or the sizes disagree.

    Example:
      >>> record = Record("a.wav", "artist", label=0, segment=0, log_mel=np.zeros((5, 40), np.float16))
      >>> decode(encode(record), mel_bands=40, dtype="float16").log_mel.shape
      (5, 40)
    """
    try:
        feature = _Example.FromString(serialized).features.feature
    except message.DecodeError as error:
        raise ValueError(f"not a tf.train.Example: {error}") from error
    values: dict[str, Any] = {}
    for name, (kind, _) in _SCHEMA.items():
        items: Sequence[Any] = getattr(feature[name], kind).value if name in feature else ()
        if len(items) != 1:
            raise ValueError(f"feature {name!r} must hold one value, got {len(items)}")
        values[name] = items[0]
    expected = values[FRAMES] * mel_bands * DTYPES[dtype].itemsize
    if values[FRAMES] < 1 or len(values[LOG_MEL]) != expected:
        raise ValueError(f"log_mel of {values[FRAMES]} frames must hold {expected} bytes, got {len(values[LOG_MEL])}")
    return Record(
        track_id=to_text(values[TRACK_ID]),
        group=to_text(values[GROUP]),
        label=values[LABEL],
        segment=values[SEGMENT],
        log_mel=np.frombuffer(values[LOG_MEL], DTYPES[dtype]).reshape(-1, mel_bands),
    )


def to_bytes(text: str) -> bytes:
    """Return a track's id or group as bytes, as a record holds it."""
    # File names on Linux are bytes; surrogateescape keeps those that are not UTF-8.
    return text.encode("utf-8", "surrogateescape")


def to_text(data: bytes) -> str:
    """Return the text that `to_bytes` encoded."""
    return data.decode("utf-8", "surrogateescape")
