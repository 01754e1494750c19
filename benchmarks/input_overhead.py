"""What the input costs a training step: steps fed from shards against steps on one constant batch.

python -m benchmarks.input_overhead [--models=time,black_box] [--batch_size=64] [--precision=float32] [--in_memory]
    [--jit_compile] [--steps=50] [--rounds=5] [--work_dir=DIR]

Models, optimiser and input are those of trainer.train on one device, whose name is printed. The constant batch is
copied ahead to the device's memory. Both inputs feed the same model in turn; the first epoch of each turn, in which
streams start and steps are compiled, is not counted. The medians of the rounds count. Where nvidia-smi is there, the
utilisation of the first GPU is sampled while it is fed from shards: the share of time in which a kernel ran.
"""

import contextlib
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from benchmarks.shards import GENRES, MEL_BANDS, PART, write_noise
from tfrecords.common import command_line
from trainer.distribution import precision

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

PATCH_FRAMES = 80
_SAMPLE_EVERY_S = 0.2
_UTILISATION = ("nvidia-smi", "--id=0", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits")

FLAGS = flags.FlagValues()
flags.DEFINE_list("models", ["time", "black_box"], "names of models", flag_values=FLAGS)
flags.DEFINE_integer("batch_size", 64, "patches in a step", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_enum("precision", precision.FLOAT32, list(precision.PRECISIONS), "of the layers", flag_values=FLAGS)
flags.DEFINE_bool("in_memory", False, "keep the clips in memory", flag_values=FLAGS)
flags.DEFINE_bool("jit_compile", None, "compile the step by XLA; by default as trainer.train", flag_values=FLAGS)
flags.DEFINE_integer("clips", 2000, "clips of the dataset", lower_bound=16, flag_values=FLAGS)
flags.DEFINE_integer("steps", 50, "steps of a turn that count", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("rounds", 5, "rounds, of which the median counts", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/benchmark", "where the dataset is kept", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Writes the dataset once, then trains."""
    command_line.no_arguments(positional)
    command_line.import_tensorflow()
    import keras
    import tensorflow as tf

    from tfrecords.reader import load

    data_dir = Path(flag_values.work_dir) / f"noise_{flag_values.clips}x30s_16"
    manifest = write_noise(data_dir, clips=flag_values.clips, seconds=30, shards=16)
    streamed = load(
        data_dir,
        batch_size=flag_values.batch_size,
        training=True,
        statistics=manifest.statistics([PART]),
        epochs=None,
        in_memory=flag_values.in_memory,
    )
    constant = tf.data.Dataset.from_tensors(next(iter(streamed))).repeat()
    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        constant = constant.apply(tf.data.experimental.prefetch_to_device(gpus[0].name))
    print(
        f"{device_name()}, Keras on {keras.config.backend()}, {os.cpu_count()} cores, {flag_values.precision}, "
        f"ms a step of {flag_values.batch_size} patches, median of {flag_values.rounds} rounds",
        flush=True,
    )
    for name in flag_values.models:
        model = new_model(name, flag_values.precision, flag_values.jit_compile)
        _tell(model, streamed, constant.prefetch(1), steps=flag_values.steps, rounds=flag_values.rounds)


def device_name() -> str:
    """What the steps run on."""
    import keras
    import tensorflow as tf

    if keras.config.backend() == "jax":
        import jax

        return jax.devices()[0].device_kind
    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU"


def new_model(name: str, numbers: str = precision.FLOAT32, jit_compile: bool | None = None) -> "keras.Model":
    """A model as trainer.train compiles it, for batches of labels as numbers."""
    import keras

    from trainer import models
    from trainer.distribution.choice import Choice
    from trainer.distribution.devices import begin

    jit = begin(Choice()).default_jit if jit_compile is None else jit_compile
    with precision.computing_in(numbers):
        model = models.create(name, num_classes=GENRES, input_shape=(PATCH_FRAMES, MEL_BANDS, 1))
    optimizer = precision.with_scaled_loss(keras.optimizers.Adam(), numbers)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"], jit_compile=jit)
    return model


def _tell(
    model: "keras.Model", streamed: "tf.data.Dataset", constant: "tf.data.Dataset", *, steps: int, rounds: int
) -> None:
    fed, bare, samples = [], [], list[float]()
    for _ in range(rounds):
        with sampled_utilisation() as found:
            fed.append(step_ms(model, streamed, steps))
        samples += found
        bare.append(step_ms(model, constant, steps))
    ratios = sorted(one / other for one, other in zip(fed, bare, strict=True))
    busy = f"   GPU busy {statistics.mean(samples):.0f} %" if samples else ""
    print(
        f"  {model.name:<12} streamed {statistics.median(fed):7.2f}   constant {statistics.median(bare):7.2f}   "
        f"streamed / constant = {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}){busy}",
        flush=True,
    )


def step_ms(model: "keras.Model", dataset: "tf.data.Dataset", steps: int) -> float:
    """Milliseconds of a step, over all steps but those of a first epoch."""
    import keras

    ends: list[float] = []
    end = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
    model.fit(dataset, steps_per_epoch=steps, epochs=2, shuffle=False, verbose=0, callbacks=[end])
    return 1000 * (ends[1] - ends[0]) / steps


@contextlib.contextmanager
def sampled_utilisation() -> Iterator[list[float]]:
    """A list that is filled with samples of the GPU's utilisation, in percent, while the block runs; or left empty."""
    samples: list[float] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(_SAMPLE_EVERY_S):
            try:
                told = subprocess.run(_UTILISATION, capture_output=True, text=True, check=True, timeout=5).stdout
                samples.append(float(told))
            except (OSError, ValueError, subprocess.SubprocessError):
                return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
