"""python run_training.py FILE CPUS KILL_AFTER FLAG...: trainer.train as a process of its own, for tests.

Without dropout, whose masks depend on the devices, so that losses can be compared. FILE gets a line `epoch step loss`
for every step. With CPUS above 1, TensorFlow finds so many. After KILL_AFTER steps, if not 0, the process kills itself.
"""

import os
import signal
import sys
from pathlib import Path

from tfrecords.common import command_line
from trainer import train


def main(path, cpus, kill_after, flags):
    command_line.import_tensorflow()
    import tensorflow as tf

    if cpus > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * cpus)
    import keras
    from step_losses import StepLosses

    from trainer.training import epochs

    class Killer(keras.callbacks.Callback):
        left = kill_after

        def on_train_batch_end(self, batch, logs=None):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)

    keras.layers.Dropout.call = lambda self, inputs, training=False: inputs
    made = epochs._callbacks
    epochs._callbacks = lambda *args, **named: [StepLosses(path), *made(*args, **named), Killer()]
    command_line.run(train.main, train.FLAGS, usage=train.__doc__, argv=["train", *flags])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
