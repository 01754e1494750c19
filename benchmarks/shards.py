"""Datasets of noise to measure reading with: the shape of real ones, written in seconds."""

import dataclasses
from pathlib import Path

import numpy as np

from tfrecords.manifest import FILE_NAME, BandStatistics, Manifest, Part, Shard, lengths_text
from tfrecords.schema import Record, encode
from tfrecords.shard import RecordWriter, shard_file

# The default front end: 22050 Hz, 512 samples from one frame to the next.
FRAMES_PER_S = 22050 / 512
MEL_BANDS = 40
GENRES = 10
PART = "train"
_NAME = "noise"


def write_noise(path: Path, *, clips: int, seconds: float, shards: int) -> Manifest:
    """Writes clips of uniform noise, float16, in one part; what is there already stays."""
    if (path / FILE_NAME).is_file():
        return Manifest.load(path)
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(clips)
    frames = 1 + int(seconds * FRAMES_PER_S)
    statistics = BandStatistics.empty(MEL_BANDS)
    written = []
    for index in range(shards):
        file = path / shard_file(_NAME, PART, index, shards)
        with file.open("wb") as opened:
            writer = RecordWriter(opened)
            for clip in range(index, clips, shards):
                log_mel = rng.uniform(0, 7, (frames, MEL_BANDS)).astype(np.float16)
                statistics = statistics.merge(BandStatistics.of(log_mel))
                writer.write(encode(Record(f"{clip}.wav", f"{clip}.wav", clip % GENRES, 0, log_mel)))
        lengths = lengths_text([frames] * writer.records)
        written.append(Shard(file.name, writer.records, writer.records * frames, writer.size, writer.sha256, lengths))
    front_end = {"sample_rate": 22050, "hop_length": 512, "frame_length": 1024, "n_mels": MEL_BANDS}
    labels = tuple(f"genre {index}" for index in range(GENRES))
    tracks = {label: len(range(index, clips, GENRES)) for index, label in enumerate(labels)}
    part = Part(tuple(written), tracks, {frames: clips}, statistics)
    manifest = Manifest(_NAME, labels, front_end, "float16", {PART: part}, {}, {}, "", {})
    (path / FILE_NAME).write_text(manifest.to_json(), "utf-8")
    return manifest


def link_many(source: Path, path: Path, *, times: int) -> Manifest:
    """The same shards so many times over, hard-linked under further names: a dataset so many times as large."""
    manifest = Manifest.load(source)
    part = manifest.parts[PART]
    count = times * len(part.shards)
    path.mkdir(parents=True, exist_ok=True)
    linked = []
    for index in range(count):
        shard = part.shards[index % len(part.shards)]
        file = path / shard_file(_NAME, PART, index, count)
        file.unlink(missing_ok=True)
        file.hardlink_to(source / shard.file)
        linked.append(dataclasses.replace(shard, file=file.name))
    frames = {frames: times * number for frames, number in part.record_frames.items()}
    statistics = BandStatistics(times * part.statistics.count, part.statistics.mean, times * part.statistics.m2)
    larger = dataclasses.replace(part, shards=tuple(linked), record_frames=frames, statistics=statistics)
    manifest = dataclasses.replace(manifest, parts={PART: larger})
    (path / FILE_NAME).write_text(manifest.to_json(), "utf-8")
    return manifest
