"""The loop of `librosa_loop` in a pool of processes, one per core, as who has many files would run it.

python -m benchmarks.librosa_pool DIR FILE
"""

import multiprocessing
import os
import sys
from pathlib import Path

# Each process is to keep to one core: read when the libraries are loaded, by the pool's processes too.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import tensorflow as tf

from benchmarks import librosa_loop


def main() -> None:
    """Writes all clips of a folder to one TFRecord file."""
    folder, file = Path(sys.argv[1]), sys.argv[2]
    # TensorFlow's threads do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool, tf.io.TFRecordWriter(file) as writer:
        for record in pool.starmap(librosa_loop.example, librosa_loop.labelled(folder), chunksize=4):
            writer.write(record)
        pool.close()
        # Processes that are ended rather than waited for do not count what they used.
        pool.join()


if __name__ == "__main__":
    main()
