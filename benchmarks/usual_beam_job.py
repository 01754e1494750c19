"""Another peer of the job: the Beam pipeline that most people write, a spectrogram an element, WriteToTFRecord.

python -m benchmarks.usual_beam_job DIR OUTPUT_PREFIX

It runs on Beam's local runner with one process per core, since librosa's Python code gains nothing from threads.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner


def example(path: str, labels: Mapping[str, int]) -> bytes:
    """One clip as the usual Example."""
    # Workers are processes of their own: each imports librosa and TensorFlow, once.
    from benchmarks import librosa_loop

    return librosa_loop.example(Path(path), labels[Path(path).parent.name])


def main() -> None:
    """Writes all clips of a folder to eight TFRecord files."""
    folder, output = Path(sys.argv[1]), sys.argv[2]
    paths = sorted(folder.glob("*/*.*"))
    labels = {name: index for index, name in enumerate(sorted({path.parent.name for path in paths}))}
    options = PipelineOptions(direct_running_mode="multi_processing", direct_num_workers=os.cpu_count())
    with beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline:
        _ = (
            pipeline
            | beam.Create([str(path) for path in paths])  # str
            | beam.Reshuffle()  # str
            | beam.Map(example, labels)  # bytes
            | beam.io.WriteToTFRecord(output, file_name_suffix=".tfrecord", num_shards=8)
        )


if __name__ == "__main__":
    main()
