"""The numeric precision of the layers; weights, optimizer, probabilities and losses stay float32.

float16 reaches from 6e-8 to 65504, so the loss is scaled up before gradients are taken and they are scaled down again
(`keras.optimizers.LossScaleOptimizer`, whose scale and counter are variables of the optimiser and saved as such); a
step whose gradients overflow is left out. bfloat16 has float32's range and needs nothing of the kind.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

FLOAT32 = "float32"
FLOAT16 = "float16"
# Name of the precision -> Keras' policy.
PRECISIONS = {FLOAT32: "float32", "bfloat16": "mixed_bfloat16", FLOAT16: "mixed_float16"}


@contextlib.contextmanager
def computing_in(name: str) -> Iterator[None]:
    """Layers that are made in the block compute in this precision, unless they say otherwise."""
    import keras

    earlier = keras.config.dtype_policy()
    keras.config.set_dtype_policy(PRECISIONS[name])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(earlier)


def with_scaled_loss(optimizer: "keras.optimizers.Optimizer", name: str) -> "keras.optimizers.Optimizer":
    """The optimiser as a precision needs it."""
    import keras

    return keras.optimizers.LossScaleOptimizer(optimizer) if name == FLOAT16 else optimizer
