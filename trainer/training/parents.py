"""Which trained jobs the filters of a time_frequency_init job come from."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Parents:
    """A job of the model `time` and one of `frequency`; equal when their weights are, wherever they lie.

    `trainer.training.init_filters.parents_of` makes them.

    Attributes:
      time_dir: directory of the first job.
      frequency_dir: of the second.
      fingerprint: SHA-256 of both models' weights. A job is another one when its filters start from other weights.
    """

    time_dir: str = dataclasses.field(compare=False)
    frequency_dir: str = dataclasses.field(compare=False)
    fingerprint: str
