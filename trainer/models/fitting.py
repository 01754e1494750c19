"""A check that the models share."""

from tfrecords.command_line import UserError


def check_fits(window: tuple[int, int], input_shape: tuple[int, int, int]) -> None:
    """Checks that a model's filters, and the pooling after them, fit a patch.

    Args:
      window: (frames, bands) that the filter and its pooling need.
      input_shape: (patch_frames, mel_bands, 1).

    Raises:
      UserError: they do not.
    """
    for size, limit, axis in zip(window, input_shape, ("frames", "mel bands"), strict=False):
        if size > limit:
            raise UserError(f"the model's filters need {size} {axis}, the patches have {limit}; take longer patches")
