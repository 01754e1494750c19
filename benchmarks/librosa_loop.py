"""The peer of the Beam job: the loop that most people write, librosa and tf.io.TFRecordWriter, one clip after another.

python -m benchmarks.librosa_loop DIR FILE
"""

import sys
from pathlib import Path

import librosa
import numpy as np
import tensorflow as tf


def example(path: Path, label: int) -> bytes:
    """One clip as the usual Example: the spectrogram flattened into a float_list."""
    waveform, sample_rate = librosa.load(path, sr=22050)
    mel = librosa.feature.melspectrogram(y=waveform, sr=sample_rate, n_fft=1024, hop_length=512, n_mels=40)
    log_mel = np.log10(1 + 10000 * mel).T
    feature = {
        "log_mel": tf.train.Feature(float_list=tf.train.FloatList(value=log_mel.ravel())),
        "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=log_mel.shape)),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "track_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[path.name.encode()])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def labelled(folder: Path) -> list[tuple[Path, int]]:
    """All clips of a folder with a folder a genre, and their labels."""
    paths = sorted(folder.glob("*/*.*"))
    labels = {name: index for index, name in enumerate(sorted({path.parent.name for path in paths}))}
    return [(path, labels[path.parent.name]) for path in paths]


def main() -> None:
    """Writes all clips of a folder to one TFRecord file."""
    folder, file = Path(sys.argv[1]), sys.argv[2]
    with tf.io.TFRecordWriter(file) as writer:
        for path, label in labelled(folder):
            writer.write(example(path, label))


if __name__ == "__main__":
    main()
