"""The schema of a record, a tf.train.Example: its features, encoding and decoding.

The message classes live in a private descriptor pool: writing needs protobuf but not TensorFlow, and a process that
imports TensorFlow later does not register tf.train.Example twice.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

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

# Tags of the length-delimited fields 1 and 2, and by kind the tag of a feature's list.
_FIRST_FIELD, _SECOND_FIELD = 0x0A, 0x12
_KIND_FIELDS = {_BYTES: 0x0A, _INT64: 0x1A}

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


class Location(NamedTuple):
    """What `locate` finds in a serialized record.

    Attributes:
      begin: where log_mel begins, in bytes.
      end: where it ends.
      frames: number of its frames.
      label: index into the manifest's labels.
      track_id: as bytes.
    """

    begin: int
    end: int
    frames: int
    label: int
    track_id: bytes


class _Layout:
    """Where all lies in records that differ from one, as `encode` writes it, in nothing but their values.

    Most records of a dataset are alike, and looking is several times as fast as following the fields.
    """

    def __init__(self, serialized: memoryview, places: dict[str, tuple[int, int]], frames: int) -> None:
        self._places = places
        self._frames = frames
        varying = sorted(places[name] for name in places if name != FRAMES)
        begins, ends = [0, *(end for _, end in varying)], [*(begin for begin, _ in varying), len(serialized)]
        # All that is not a value, with the number of frames.
        self._fixed = [(slice(*cut), bytes(serialized[slice(*cut)])) for cut in zip(begins, ends, strict=True)]

    def location(self, serialized: memoryview) -> Location | None:
        """Return what `locate` does, or None for a record of another layout or with a label above 127."""
        (begin, end), (at, after) = self._places[LOG_MEL], self._places[LABEL]
        if after - at > 1 or serialized[at] > 127 or any(serialized[cut] != expected for cut, expected in self._fixed):
            return None
        return Location(begin, end, self._frames, serialized[at], bytes(serialized[slice(*self._places[TRACK_ID])]))


# (Length of a record in bytes, mel_bands, dtype) -> the layout of one that was located.
_layouts: dict[tuple[int, int, str], _Layout] = {}
_MAX_LAYOUTS = 1000


def locate(serialized: memoryview, *, mel_bands: int, dtype: str) -> Location:
    """Find log_mel in a record, without the copies that parsing makes of it; arguments and errors as of `decode`.

    Example:
      >>> record = Record("a.wav", "artist", label=3, segment=0, log_mel=np.zeros((5, 40), np.float16))
      >>> found = locate(memoryview(encode(record)), mel_bands=40, dtype="float16")
      >>> found.label, found.end - found.begin
      (3, 400)
    """
    layout = _layouts.get((len(serialized), mel_bands, dtype))
    if layout is not None and (found := layout.location(serialized)):
        return found
    try:
        places = _value_places(serialized)
        begin, end = places[LOG_MEL]
        frames, label = (_varint(serialized, *places[name]) for name in (FRAMES, LABEL))
        track_id = bytes(serialized[slice(*places[TRACK_ID])])
    except (LookupError, ValueError):
        pass
    else:
        if len(places) == len(_SCHEMA) and frames > 0 and end - begin == frames * mel_bands * DTYPES[dtype].itemsize:
            if len(_layouts) >= _MAX_LAYOUTS:
                _layouts.clear()
            _layouts[len(serialized), mel_bands, dtype] = _Layout(serialized, places, frames)
            return Location(begin, end, frames, label, track_id)
    # An Example may be written in other ways than `encode` does; or there is something wrong, which `decode` says.
    record = decode(bytes(serialized), mel_bands=mel_bands, dtype=dtype)
    data = record.log_mel.tobytes()
    begin = bytes(serialized).index(data)
    return Location(begin, begin + len(data), len(record.log_mel), record.label, to_bytes(record.track_id))


def _value_places(data: memoryview) -> dict[str, tuple[int, int]]:
    """Return feature -> where its only value lies, for an Example as `encode` writes it.

    Raises:
      LookupError, ValueError: it is written in another way.
    """
    places = {}
    begin, end = _field(data, 0, _FIRST_FIELD)
    if end != len(data):
        raise ValueError("more than one Features")
    while begin < end:
        begin, entry_end = _field(data, begin, _FIRST_FIELD)
        key = _field(data, begin, _FIRST_FIELD)
        value = _field(data, key[1], _SECOND_FIELD)
        name = str(data[slice(*key)], "ascii")
        items = _field(data, value[0], _KIND_FIELDS[_SCHEMA[name][0]])
        item = _field(data, items[0], _FIRST_FIELD)
        if not entry_end == value[1] == items[1] == item[1]:
            raise ValueError("more than one value")
        places[name] = item
        begin = entry_end
    if begin != end:
        raise ValueError("too long")
    return places


def _field(data: memoryview, at: int, tag: int) -> tuple[int, int]:
    """Return where the contents of a length-delimited field begin and end."""
    if data[at] != tag:
        raise ValueError("another field")
    size, shift, at = data[at + 1], 0, at + 2
    if size >= 0x80:
        size &= 0x7F
        while True:
            byte, at, shift = data[at], at + 1, shift + 7
            size |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
    return at, at + size


def _varint(data: memoryview, begin: int, end: int) -> int:
    """Return the only number in a packed list, which is below 2**63."""
    value = 0
    for place, byte in enumerate(data[begin:end]):
        value |= (byte & 0x7F) << 7 * place
        if (byte < 0x80) != (place == end - begin - 1):
            raise ValueError("more than one number")
    if begin == end or value >= 1 << 63:
        raise ValueError("no number, or a negative one")
    return value


def to_bytes(text: str) -> bytes:
    """Return a track's id or group as bytes, as a record holds it."""
    # File names on Linux are bytes; surrogateescape keeps those that are not UTF-8.
    return text.encode("utf-8", "surrogateescape")


def to_text(data: bytes) -> str:
    """Return the text that `to_bytes` encoded."""
    return data.decode("utf-8", "surrogateescape")
