"""The two JSON files with which tensorflow_datasets opens a dataset's directory (tfds.builder_from_directory).

They are written without that package; names are those of its protocol buffers DatasetInfo and Feature (version 4.9).
"""

import json
from typing import Any

from tfrecords import schema
from tfrecords.manifest import FORMAT_VERSION, Manifest, Part

INFO_FILE = "dataset_info.json"
FEATURES_FILE = "features.json"
FILES = (INFO_FILE, FEATURES_FILE)

_FEATURES = "tensorflow_datasets.core.features"


def to_json(manifest: Manifest) -> dict[str, str]:
    """Return file name -> text of both files; equal manifests give equal texts."""
    contents = {INFO_FILE: dataset_info(manifest), FEATURES_FILE: features(manifest)}
    return {name: json.dumps(content, indent=1) + "\n" for name, content in contents.items()}


def dataset_info(manifest: Manifest) -> dict[str, Any]:
    """Return name, version and splits: the parts, except those without records, which that package refuses to read."""
    return {
        "name": manifest.name,
        "version": f"{FORMAT_VERSION}.0.0",
        "description": _description(manifest),
        "fileFormat": "tfrecord",
        "splits": [_split(name, part) for name, part in manifest.parts.items() if part.records],
        "supervisedKeys": {"tuple": {"items": [{"featureKey": schema.LOG_MEL}, {"featureKey": schema.LABEL}]}},
    }


def _description(manifest: Manifest) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in manifest.front_end.items())
    tracks = sum(manifest.tracks(["all"]).values())
    return f"Log-mel spectrograms of {tracks} labelled tracks of audio; front end: {settings}."


def _split(name: str, part: Part) -> dict[str, Any]:
    # The JSON form of protocol buffers writes 64-bit integers as strings.
    return {
        "name": name,
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "shardLengths": [str(shard.records) for shard in part.shards],
        "numBytes": str(sum(shard.bytes for shard in part.shards)),
    }


def features(manifest: Manifest) -> dict[str, Any]:
    """Return the features of a record: the label as a named class, log_mel as [frames, mel_bands] of its dtype."""
    # As a JSON feature the label holds its names; as a proto it would need a third file for them.
    names = json.dumps({"names": list(manifest.labels)})
    number = {"shape": {}, "dtype": "int64", "encoding": "none"}
    log_mel = {"shape": {"dimensions": ["-1", str(manifest.mel_bands)]}, "dtype": manifest.dtype, "encoding": "bytes"}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        schema.TRACK_ID: ("text_feature.Text", {"text": {}}),
        schema.GROUP: ("text_feature.Text", {"text": {}}),
        schema.LABEL: ("class_label_feature.ClassLabel", {"jsonFeature": {"json": names}}),
        schema.SEGMENT: ("scalar.Scalar", {"tensor": number}),
        schema.FRAMES: ("scalar.Scalar", {"tensor": number}),
        schema.LOG_MEL: ("tensor_feature.Tensor", {"tensor": log_mel}),
    }
    return {
        "pythonClassName": f"{_FEATURES}.features_dict.FeaturesDict",
        "featuresDict": {
            "features": {
                name: {"pythonClassName": f"{_FEATURES}.{kind}", "description": schema.FEATURES[name], **content}
                for name, (kind, content) in kinds.items()
            }
        },
    }
