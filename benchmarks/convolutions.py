"""What a training step takes as this project imports TensorFlow, against TensorFlow as it comes.

python -m benchmarks.convolutions [--models=black_box,cnn] [--steps=50] [--rounds=5]

Where a processor has no instructions for neural networks (AVX512_VNNI, AMX), TensorFlow by itself leaves convolutions
to Eigen instead of oneDNN. Both ways take turns in processes of their own, as the choice is made when TensorFlow is
imported; each trains on one constant batch, and its first epoch, in which all is set up, is not counted. The medians of
the rounds count.
"""

import os
import statistics
from importlib import import_module

from absl import flags

from benchmarks import processes
from benchmarks.input_overhead import PATCH_FRAMES, new_model, step_ms
from benchmarks.shards import GENRES, MEL_BANDS
from tfrecords.common import command_line
from trainer import models

BATCH_SIZE = 64
_WAYS = {"as it comes": False, "as imported here": True}

FLAGS = flags.FlagValues()
flags.DEFINE_list("models", ["black_box", "cnn"], "names of models", flag_values=FLAGS)
flags.DEFINE_integer("steps", 50, "steps of a turn that count", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("rounds", 5, "rounds, of which the median counts", lower_bound=1, flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Trains in turn, a line for each model."""
    command_line.no_arguments(positional)
    for name in flag_values.models:
        models.check_name(name)
    print(f"ms a step of {BATCH_SIZE} patches on {os.cpu_count()} cores, median of {flag_values.rounds} rounds")
    for name in flag_values.models:
        rounds = [[_turn(name, ours, flag_values.steps) for ours in _WAYS.values()] for _ in range(flag_values.rounds)]
        medians = (statistics.median(own) for own in zip(*rounds, strict=True))
        words = "   ".join(f"{way} {median:7.2f}" for way, median in zip(_WAYS, medians, strict=True))
        ratio = statistics.median(plain / ours for plain, ours in rounds)
        print(f"  {name:<12} {words}   ratio = {ratio:.2f}", flush=True)


def _turn(name: str, ours: bool, steps: int) -> float:
    code = f"from benchmarks.convolutions import print_step_ms; print_step_ms({name!r}, {ours}, {steps})"
    return float(processes.run_checked("-c", code).stdout.split()[-1])


def print_step_ms(name: str, ours: bool, steps: int) -> None:
    """Trains a model in this process, which has not imported TensorFlow yet; prints the milliseconds of a step.

    Args:
      name: of the model.
      ours: whether TensorFlow is imported as by the trainer.
      steps: that count.
    """
    # Whatever was exported by whoever measures.
    os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)
    if ours:
        command_line.import_tensorflow()
    tf = import_module("tensorflow")
    patches = tf.random.stateless_normal([BATCH_SIZE, PATCH_FRAMES, MEL_BANDS, 1], [0, 0])
    batch = (patches, tf.range(BATCH_SIZE) % GENRES)
    print(step_ms(new_model(name, jit_compile=False), tf.data.Dataset.from_tensors(batch).repeat(), steps))


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
