"""A check that the models share."""

from tfrecords.common.command_line import UserError


def check_fits(window: tuple[int, int], input_shape: tuple[int, int, int]) -> None:
    """Checks that a model's filters, and the pooling after them, fit a patch.

    Args:
      window: (frames, bands) that the filter and its pooling need.
      input_shape: (patch_frames, mel_bands, 1).

    Raises:
      UserError: they do not.
    """
    remedies = (("frames", "--patch_frames for training"), ("mel bands", "--n_mels for preprocessing"))
    for size, limit, (axis, flag) in zip(window, input_shape, remedies, strict=False):
        if size > limit:
            raise UserError(f"the model's filters need {size} {axis}, the patches have {limit}; take a larger {flag}")
