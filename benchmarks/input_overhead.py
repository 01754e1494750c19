"""What the input costs a training step: steps fed from shards against steps on one constant batch.

python -m benchmarks.input_overhead [--models=time,black_box] [--steps=50] [--rounds=5] [--work_dir=DIR]

Models, optimiser and batch are those of trainer.train. Both inputs feed the same model in turn; the first epoch of
each turn, in which streams start, is not counted. The medians of the rounds count.
"""

import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from benchmarks.shards import GENRES, MEL_BANDS, PART, write_noise
from tfrecords import command_line

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

PATCH_FRAMES = 80
BATCH_SIZE = 64

FLAGS = flags.FlagValues()
flags.DEFINE_list("models", ["time", "black_box"], "names of models", flag_values=FLAGS)
flags.DEFINE_integer("clips", 2000, "clips of the dataset", lower_bound=16, flag_values=FLAGS)
flags.DEFINE_integer("steps", 50, "steps of a turn that count", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("rounds", 5, "rounds, of which the median counts", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/benchmark", "where the dataset is kept", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Writes the dataset once, then trains."""
    command_line.no_arguments(positional)
    command_line.import_tensorflow()
    import tensorflow as tf

    from tfrecords.dataset import load

    data_dir = Path(flag_values.work_dir) / f"noise_{flag_values.clips}x30s_16"
    manifest = write_noise(data_dir, clips=flag_values.clips, seconds=30, shards=16)
    streamed = load(data_dir, batch_size=BATCH_SIZE, training=True, statistics=manifest.statistics([PART]), epochs=None)
    constant = tf.data.Dataset.from_tensors(next(iter(streamed))).repeat().prefetch(1)
    print(f"ms a step of {BATCH_SIZE} patches on {os.cpu_count()} cores, median of {flag_values.rounds} rounds")
    for name in flag_values.models:
        _tell(name, {"streamed": streamed, "constant": constant}, steps=flag_values.steps, rounds=flag_values.rounds)


def _tell(name: str, inputs: dict[str, "tf.data.Dataset"], *, steps: int, rounds: int) -> None:
    model = new_model(name)
    times: dict[str, list[float]] = {kind: [] for kind in inputs}
    for _ in range(rounds):
        for kind, dataset in inputs.items():
            times[kind].append(step_ms(model, dataset, steps))
    streamed, constant = (statistics.median(times[kind]) for kind in ("streamed", "constant"))
    pairs = zip(times["streamed"], times["constant"], strict=True)
    ratio = statistics.median(one / other for one, other in pairs)
    print(
        f"  {name:<12} streamed {streamed:7.2f}   constant {constant:7.2f}   streamed / constant = {ratio:.3f}",
        flush=True,
    )


def new_model(name: str) -> "keras.Model":
    """A model as trainer.train compiles it on a CPU, for batches of labels as numbers."""
    import keras

    from trainer import models

    model = models.create(name, num_classes=GENRES, input_shape=(PATCH_FRAMES, MEL_BANDS, 1))
    model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(), jit_compile=False)
    return model


def step_ms(model: "keras.Model", dataset: "tf.data.Dataset", steps: int) -> float:
    """Milliseconds of a step, over all steps but those of a first epoch."""
    import keras

    ends: list[float] = []
    end = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
    model.fit(dataset, steps_per_epoch=steps, epochs=2, shuffle=False, verbose=0, callbacks=[end])
    return 1000 * (ends[1] - ends[0]) / steps


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
