"""Which variations training batches get; `tfrecords.augment` makes them."""

import dataclasses
import math

from tfrecords.common.command_line import UserError


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How patches are varied, in this order; every variation is off unless asked for.

    Attributes:
      gain_db: each patch gets another level, by up to so many decibels up or down, all equally likely. 0 to 40.
      equalizer_db: each patch gets another equalisation: lines through gains at the lowest band, at the highest and at
        three evenly between, each by up to so many decibels up or down, all equally likely. 0 to 40.
      mixup_alpha: each patch, and its label, is mixed with another of its batch, in shares from Beta(alpha, alpha)
        (Zhang et al. 2018): 0.2 mostly keeps nearly all of one, 1 makes all shares equally likely. The greater share
        is the patch's own, so that a batch holds each of its patches once. 0, or 0.01 to 100.
      frequency_masks: masks across mel bands in each patch (SpecAugment, Park et al. 2019).
      frequency_mask_bands: bands in the widest such mask; all widths from 0 on are equally likely, and so are all
        places where it fits.
      time_masks: masks across frames in each patch.
      time_mask_frames: frames in the widest such mask.
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
            # With less, a share is 0 or 1 in float32; with more, it is one half.
            ("mixup_alpha", alpha == 0 or 0.01 <= alpha <= 100, "0, or from 0.01 to 100"),
            ("frequency_masks", self.frequency_masks >= 0, "at least 0"),
            ("frequency_mask_bands", self.frequency_mask_bands >= 1, "at least 1"),
            ("time_masks", self.time_masks >= 0, "at least 0"),
            ("time_mask_frames", self.time_mask_frames >= 1, "at least 1"),
        )
        for name, holds, rule in rules:
            if not holds:
                raise UserError(f"{name} of an augmentation must be {rule}, got {getattr(self, name)}")

    @property
    def soft_labels(self) -> bool:
        """Whether labels become shares of every label, [batch, num_classes] float32."""
        return self.mixup_alpha > 0

    def check_fits(self, *, patch_frames: int, mel_bands: int) -> None:
        """Raises UserError when a mask could be wider than a patch."""
        for masks, name, size, what in (
            (self.frequency_masks, "frequency_mask_bands", mel_bands, "mel bands"),
            (self.time_masks, "time_mask_frames", patch_frames, "frames"),
        ):
            if masks and getattr(self, name) > size:
                raise UserError(
                    f"{name} must be at most the {size} {what} of a patch, got {getattr(self, name)}; "
                    "lower it in --augment"
                )

    @classmethod
    def parse(cls, settings: str) -> "Augmentation":
        """Reads "name=value,name=value", as a command line gives it; nothing is asked for by "".

        Raises:
          UserError: a name is unknown or there twice, or a value is no such number or out of range.
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
                raise UserError(f"{name} of an augmentation is given twice")
            try:
                values[name] = kinds[name](text)
            except ValueError:
                kind = "a whole number" if kinds[name] is int else "a number"
                raise UserError(f"{name} of an augmentation must be {kind}, got {text!r}; write {name}=2") from None
        return cls(**values)  # type: ignore[arg-type]
