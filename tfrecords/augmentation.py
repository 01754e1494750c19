"""The configuration of augmentation, without TensorFlow; `tfrecords.augment` applies it."""

import dataclasses
import math

from tfrecords.common.command_line import UserError


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How training patches are varied, in this order; every variation is off by default.

    Attributes:
      gain_db: change each patch's level by a gain drawn uniformly from -gain_db to gain_db. 0 to 40.
      equalizer_db: add a random equaliser curve to each patch: straight lines through gains at five evenly spaced
        bands, each drawn uniformly from -equalizer_db to equalizer_db. 0 to 40.
      mixup_alpha: mix each patch, and its label, with another of its batch, in shares from Beta(alpha, alpha) (Zhang et
        al. 2018): 0.2 mostly keeps nearly all of one, 1 makes all shares equally likely. The patch itself has the
        larger share, so that every patch of a batch is the main part of one. 0, or 0.01 to 100.
      frequency_masks: number of masks over mel bands in each patch (SpecAugment, Park et al. 2019).
      frequency_mask_bands: bands of the widest such mask; width (from 0) and position are uniform.
      time_masks: number of masks over frames in each patch.
      time_mask_frames: frames of the widest such mask.

    Raises:
      UserError: a value is out of range.

    Example:
      >>> Augmentation.parse("time_masks=2,mixup_alpha=0.4").soft_labels
      True
    """

    gain_db: float = 0.0
    equalizer_db: float = 0.0
    mixup_alpha: float = 0.0
    frequency_masks: int = 0
    frequency_mask_bands: int = 8
    time_masks: int = 0
    time_mask_frames: int = 16

    def __post_init__(self) -> None:
        alpha = self.mixup_alpha
        rules = (
            ("gain_db", math.isfinite(self.gain_db) and 0 <= self.gain_db <= 40, "from 0 to 40"),
            ("equalizer_db", math.isfinite(self.equalizer_db) and 0 <= self.equalizer_db <= 40, "from 0 to 40"),
            # Below, shares are 0 or 1 in float32; above, one half.
            ("mixup_alpha", alpha == 0 or 0.01 <= alpha <= 100, "0, or from 0.01 to 100"),
            ("frequency_masks", self.frequency_masks >= 0, "at least 0"),
            ("frequency_mask_bands", self.frequency_mask_bands >= 1, "at least 1"),
            ("time_masks", self.time_masks >= 0, "at least 0"),
            ("time_mask_frames", self.time_mask_frames >= 1, "at least 1"),
        )
        for name, holds, rule in rules:
            if not holds:
                raise UserError(f"`{name}` of an augmentation must be {rule}, got {getattr(self, name)}")

    @property
    def soft_labels(self) -> bool:
        """Whether labels become shares of all classes, [batch, num_classes] float32."""
        return self.mixup_alpha > 0

    def check_fits(self, *, patch_frames: int, mel_bands: int) -> None:
        """Raise UserError if a mask could be wider than a patch."""
        for masks, name, size, unit in (
            (self.frequency_masks, "frequency_mask_bands", mel_bands, "mel bands"),
            (self.time_masks, "time_mask_frames", patch_frames, "frames"),
        ):
            if masks and getattr(self, name) > size:
                raise UserError(
                    f"`{name}` must be at most the {size} {unit} of a patch, got {getattr(self, name)}; "
                    "lower it in `augment`"
                )

    @classmethod
    def parse(cls, settings: str) -> "Augmentation":
        """Parse "name=value,name=value", the text of a command line's flag; "" is no augmentation.

        Raises:
          UserError: a name is unknown or given twice, or a value is not a number or out of range.
        """
        kinds: dict[str, type[int] | type[float]] = {
            field.name: int if field.type is int else float for field in dataclasses.fields(cls)
        }
        values: dict[str, float] = {}
        for setting in filter(None, settings.split(",")):
            name, _, text = (word.strip() for word in setting.partition("="))
            if name not in kinds:
                raise UserError(f"no augmentation is called {name!r}; there are {', '.join(kinds)}")
            if name in values:
                raise UserError(f"`{name}` of an augmentation is given twice")
            try:
                values[name] = kinds[name](text)
            except ValueError:
                kind = "a whole number" if kinds[name] is int else "a number"
                raise UserError(f"`{name}` of an augmentation must be {kind}, got {text!r}; write {name}=2") from None
        return cls(**values)  # type: ignore[arg-type]
