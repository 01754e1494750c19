"""The peers of the preprocessing job: what people would write instead, with librosa, a pool of processes or Beam.

python -m benchmarks.peers loop|pool|beam DIR OUTPUT

Each writes all clips of a folder, a folder a genre, as the usual Examples: the spectrogram flattened into a float_list.
Each imports what it uses and no more, for whole processes are timed.
"""

import os
import sys
from pathlib import Path


def example(path: Path | str, label: int) -> bytes:
    """One clip as the usual Example."""
    import librosa
    import numpy as np
    import tensorflow as tf

    waveform, sample_rate = librosa.load(path, sr=22050)
    mel = librosa.feature.melspectrogram(y=waveform, sr=sample_rate, n_fft=1024, hop_length=512, n_mels=40)
    log_mel = np.log10(1 + 10000 * mel).T
    feature = {
        "log_mel": tf.train.Feature(float_list=tf.train.FloatList(value=log_mel.ravel())),
        "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=log_mel.shape)),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "track_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[Path(path).name.encode()])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def loop(clips: list[tuple[str, int]], output: str) -> None:
    """One clip after another, to one TFRecord file."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(output) as writer:
        for path, label in clips:
            writer.write(example(path, label))


def pool(clips: list[tuple[str, int]], output: str) -> None:
    """The same loop in a pool of processes, one per core, as who has many files would run it."""
    import multiprocessing

    # Each process is to keep to one core: read when the libraries are loaded, by the pool's processes too.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    import tensorflow as tf

    # TensorFlow's threads do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as workers, tf.io.TFRecordWriter(output) as writer:
        for record in workers.starmap(example, clips, chunksize=4):
            writer.write(record)
        workers.close()
        # Processes that are ended rather than waited for do not count what they used.
        workers.join()


def beam(clips: list[tuple[str, int]], output: str) -> None:
    """The Beam pipeline that most people write, a spectrogram an element, to eight TFRecord files.

    On Beam's local runner with one process per core, since librosa's Python code gains nothing from threads.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    options = PipelineOptions(direct_running_mode="multi_processing", direct_num_workers=os.cpu_count())
    with beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline:
        _ = (
            pipeline
            | beam.Create(clips)  # (str, int)
            | beam.Reshuffle()  # (str, int)
            | beam.MapTuple(example)  # bytes
            | beam.io.WriteToTFRecord(output, file_name_suffix=".tfrecord", num_shards=8)
        )


def main() -> None:
    """Writes all clips of a folder in one of the ways."""
    way, folder, output = {"loop": loop, "pool": pool, "beam": beam}[sys.argv[1]], Path(sys.argv[2]), sys.argv[3]
    paths = sorted(folder.glob("*/*.*"))
    labels = {name: index for index, name in enumerate(sorted({path.parent.name for path in paths}))}
    way([(str(path), labels[path.parent.name]) for path in paths], output)


if __name__ == "__main__":
    main()
