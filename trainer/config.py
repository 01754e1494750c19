"""TrainConfig: every setting that decides a training, and the recipes, which set several of them at once.

The flags of trainer.train and trainer.cross_validate, the checks of values, config.json, the trainings of a
cross-validation and what reports say of a training all derive from the fields here.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from absl import flags

from tfrecords.augmentation import Augmentation
from tfrecords.common.command_line import UserError
from tfrecords.manifest import count_patches
from trainer import models, settings
from trainer.distribution import precision
from trainer.settings import setting
from trainer.training.schedules import METRICS, History, LossRiseSchedule, Recipe

# As tfrecords.patches names them, which imports TensorFlow.
WINDOWS, RANDOM, RESIZE = PATCH_MODES = ("windows", "random", "resize")
# What is done about labels that are rarer than others.
EQUAL, BALANCED = CLASS_WEIGHTS = ("equal", "balanced")

RECIPES = {
    "modern": Recipe(optimizer="Adam", checkpoint_metric="val_loss"),
    # The paper's, whose published settings allow 2,000 epochs; its last, incomplete batch of an epoch is left out
    # there, and the epoch that ends training is never kept.
    "cbmi2016": Recipe(
        optimizer="SGD",
        checkpoint_metric="val_accuracy",
        rises=LossRiseSchedule(to_halve=20, to_stop=40),
        settings={"learning_rate": 0.01, "batch_size": 10, "epochs": 500, "patience": None},
    ),
    # More variety and a smoother end in the place of a choice among epochs.
    "augmented": Recipe(
        optimizer="Adam",
        checkpoint_metric=None,
        settings={
            "batch_size": 32,
            "epochs": 20,
            "patience": None,
            "weight_average": 0.99,
            "augmentation": Augmentation(gain_db=6, mixup_alpha=0.3, frequency_masks=1, time_masks=1),
            "patch_mode": RANDOM,
            "patch_frames": 128,
        },
    ),
    "probe": Recipe(optimizer="Adam", checkpoint_metric=None, solves=True, settings={"epochs": 1, "patience": None}),
}
# Of a model, its settings where neither a recipe that is named nor the caller says otherwise.
_OF_MODELS: Mapping[str, Mapping[str, Any]] = {
    models.PRETRAINED: {"recipe": "probe", "patch_frames": 187, "augmentation": Augmentation()}
}

# Of whole numbers; what a product of two of them still leaves to 64 bits.
_MOST = 1_000_000_000


def _options_text(options: Mapping[str, int]) -> str:
    return ",".join(f"{name}={value}" for name, value in options.items())


def augmentation_text(augmentation: Augmentation) -> str:
    """Return an augmentation as Augmentation.parse reads it: what differs from none, in the order of its fields.

    Example:
      >>> augmentation_text(Augmentation(gain_db=6, time_masks=2))
      'gain_db=6,time_masks=2'
    """
    pairs = (
        (field.name, field.default, getattr(augmentation, field.name)) for field in dataclasses.fields(Augmentation)
    )
    return ",".join(
        f"{name}={int(value) if value == int(value) else value}" for name, default, value in pairs if value != default
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Every setting that decides a training; the defaults are those of the recipe "modern".

    The help of each field says what it is. `by_recipe` takes the others of a recipe's settings.

    Example:
      >>> config = TrainConfig.by_recipe("augmented", epochs=5)
      >>> config.epochs, config.patch_frames
      (5, 128)

    Raises:
      UserError: a value is out of range, or has no meaning in the recipe.
    """

    model: str = setting("black_box", choices=models.MODELS, help=" or ".join(models.MODELS))
    model_options: Mapping[str, int] = setting(
        {},
        parse=models.parse_options,
        to_text=_options_text,
        help="sizes of the model, such as filter_bands=30,filters=16; see trainer/models/<model>.py",
    )
    recipe: str = setting(
        "modern",
        choices=RECIPES,
        help="how it is trained: modern (Adam along a cosine, lowest validation loss kept), cbmi2016 (the paper's: "
        "SGD, halved and ended by the rises of the training loss, highest validation accuracy kept), augmented "
        "(Adam along a cosine, varied patches at random places, averaged weights, the last epoch kept) or probe (a "
        "logistic regression on the pretrained model musicnn, which stays as it is; seconds instead of epochs)",
    )
    epochs: int = setting(40, minimum=1, maximum=_MOST, help="at most")
    patience: int | None = setting(8, minimum=1, maximum=_MOST, help="stop after so many epochs without a better one")
    batch_size: int = setting(
        64,
        minimum=1,
        maximum=_MOST,
        help="patches in a step, on all devices of all hosts together; the learning rate is not scaled by their number",
    )
    learning_rate: float = setting(1e-3, above=0, help="at the start")
    warmup: float = setting(
        0.0, minimum=0, below=1, help="share of all steps in which the rate rises linearly from 0, before the cosine"
    )
    label_smoothing: float = setting(
        0.0,
        minimum=0,
        below=1,
        help="share of each training label that is dealt to all labels; the validation loss is without it",
        describe="labels smoothed by {:g}",
    )
    class_weights: str = setting(
        EQUAL,
        choices=CLASS_WEIGHTS,
        help="weights of the labels in the training loss: equal, or balanced (inversely proportional to their training "
        "patches, 1 on average); the validation loss is without them",
        describe={BALANCED: "labels weighted inversely to how often they occur"},
    )
    sampling: str = setting(
        EQUAL,
        choices=CLASS_WEIGHTS,
        help="how often training patches are drawn in an epoch: equal (each once), or balanced (those of rarer labels "
        "several times, so that an epoch has as many of every label)",
        describe={BALANCED: "as many patches of every label"},
    )
    checkpoint_metric: str | None = setting(
        None,
        choices=METRICS,
        help=f"of which epoch the model is kept: {', '.join(METRICS)}, over patches; by default val_loss (modern), "
        "val_accuracy (cbmi2016); the macro scores count every label alike",
    )
    patch_frames: int = setting(80, minimum=1, maximum=_MOST, help="frames that the model sees at once")
    patch_mode: str = setting(
        WINDOWS,
        choices=PATCH_MODES,
        help="which patches: windows (one after the other), random (training's at places that every epoch draws anew, "
        "as many as windows; all others are windows) or resize (one, the whole clip, stretched or squeezed to "
        "patch_frames)",
        describe={RANDOM: "training patches at random places", RESIZE: "each clip resized to one patch"},
    )
    weight_average: float = setting(
        0.0,
        minimum=0,
        below=1,
        help="momentum of the average of the weights that is validated and kept, 0: none",
        describe="weights averaged with momentum {:g}",
    )
    augmentation: Augmentation = setting(
        Augmentation(),
        flag="augment",
        parse=Augmentation.parse,
        to_text=augmentation_text,
        help="how training batches are varied, such as frequency_masks=2,time_masks=2,gain_db=6,mixup_alpha=0.2, or "
        "nothing for not at all; python -m tfrecords show OUT --augment=... draws it",
    )
    precision: str = setting(
        precision.FLOAT32,
        choices=precision.PRECISIONS,
        help=f"in which numbers the layers compute: {', '.join(precision.PRECISIONS)}; weights stay float32",
    )
    seed: int = setting(0, minimum=0, maximum=(1 << 32) - 1, help="of weights, dropout and order")

    def __post_init__(self) -> None:
        settings.check(self)
        rules = self.rules
        if rules.solves:
            self._check_solves()
        self._check_balance()
        if rules.uses_patience and self.patience is None:
            raise UserError(f"`patience` must be given for `recipe={self.recipe}`, got None")
        if not rules.uses_patience and self.patience is not None:
            by_loss = "ends training by the training loss" if rules.rises else "keeps its last epoch"
            raise UserError(
                f"`patience` does not apply to `recipe={self.recipe}`, which {by_loss}; got {self.patience}"
            )
        if self.warmup and rules.rises:
            raise UserError(
                f"`warmup` does not apply to `recipe={self.recipe}`, whose rate only falls; got {self.warmup}"
            )

    def _check_balance(self) -> None:
        """Raise UserError for settings about rare labels that do not go together, or a metric that chooses nothing."""
        if self.sampling == BALANCED and self.class_weights == BALANCED:
            raise UserError("`class_weights=balanced` and `sampling=balanced` make up for the same; take one of them")
        if self.sampling == BALANCED and self.patch_mode == RESIZE:
            raise UserError(f"`sampling=balanced` is not for `patch_mode={RESIZE}`; take `class_weights=balanced`")
        if self.checkpoint_metric is not None and RECIPES[self.recipe].checkpoint_metric is None:
            raise UserError(
                f"`checkpoint_metric` does not apply to `recipe={self.recipe}`, which keeps its last epoch; got "
                f"{self.checkpoint_metric}"
            )

    def _check_solves(self) -> None:
        """Raise UserError for what has no meaning where only a layer on a pretrained network is fitted."""
        if self.model != models.PRETRAINED:
            raise UserError(f"`recipe={self.recipe}` is for `model={models.PRETRAINED}`, got `model={self.model}`")
        for name in ("patch_mode", "augmentation", "label_smoothing", "sampling", "weight_average", "warmup", "epochs"):
            default = RECIPES[self.recipe].settings.get(name, settings.default_of(type(self), name))
            if (value := getattr(self, name)) != default:
                flag = settings.settings_of(type(self))[name].flag
                raise UserError(f"`{flag}` does not apply to `recipe={self.recipe}`, got {value}")

    @classmethod
    def by_recipe(cls, recipe: str | None = None, **values: Any) -> "TrainConfig":
        """Return a recipe's settings, but for those given as `values`; without one, those of the model's usual recipe.

        Raises:
          UserError: there is no such recipe, or a value is not allowed.
        """
        of_model = dict(_OF_MODELS.get(values.get("model", ""), {}))
        usual = of_model.pop("recipe", "modern")
        recipe = recipe or usual
        of_recipe = RECIPES[recipe].settings if recipe in RECIPES else {}
        return cls(recipe=recipe, **{**of_recipe, **of_model, **values})

    @property
    def rules(self) -> Recipe:
        """Its recipe: which epoch is kept, when training ends, how the rate falls."""
        recipe = RECIPES[self.recipe]
        metric = self.checkpoint_metric
        return recipe if metric is None else dataclasses.replace(recipe, checkpoint_metric=metric)

    @property
    def soft_labels(self) -> bool:
        """Whether training and its loss take labels as shares, [batch, labels] float32, instead of [batch] int32."""
        return self.augmentation.soft_labels or self.label_smoothing > 0 or self.class_weights == BALANCED

    @property
    def macro_score(self) -> str | None:
        """The macro score that chooses its epoch, "macro_recall" or "macro_f1"; None where another metric does."""
        name = (self.rules.checkpoint_metric or "").removeprefix("val_")
        return name if name.startswith("macro") else None

    @property
    def evaluation_mode(self) -> str:
        """The patch_mode of all batches but those of training: "windows" or "resize"."""
        return RESIZE if self.patch_mode == RESIZE else WINDOWS

    @property
    def min_frames(self) -> int:
        """Frames of the shortest record that gives a patch."""
        return 1 if self.patch_mode == RESIZE else self.patch_frames

    def patches_in(self, frames: int) -> int:
        """Return how many patches evaluation takes of a record of so many frames."""
        if self.patch_mode == RESIZE:
            return 1
        return count_patches(frames, patch_frames=self.patch_frames, patch_hop=self.patch_frames)

    def is_done(self, history: History) -> bool:
        """Whether training ends with the last of the epochs that are finished."""
        return self.rules.is_done(history, epochs=self.epochs, patience=self.patience)

    @property
    def described(self) -> str:
        """How it is trained in words, for a report."""
        if self.rules.solves:
            return f"{self.recipe}: logistic regression on each track's mean, its L2 chosen within the training tracks"
        end = self.rules.describe_end(self.patience)
        words = [
            f"{self.recipe}: {self.rules.describe_rate(self.learning_rate, self.warmup)}",
            f"batch {self.batch_size}",
            f"at most {self.epochs} epochs, {end}" if end else f"{self.epochs} epochs",
        ]
        for name, each in settings.settings_of(type(self)).items():
            value = getattr(self, name)
            if isinstance(each.describe, str):
                words.append(each.describe.format(value) if value else "")
            else:
                words.append(each.describe.get(value, ""))
        return "; ".join(filter(None, [*words, f"{self.rules.describe_choice()} kept"]))


def define_flags(flag_values: flags.FlagValues, *, skip: tuple[str, ...] = ()) -> None:
    """Define a flag for each setting of TrainConfig but those in `skip`; the help lists what each recipe takes."""
    settings.define_flags(TrainConfig, flag_values, skip=skip, defaults=_defaults_by_recipe())


def from_flags(flag_values: flags.FlagValues, *, skip: tuple[str, ...] = (), **values: Any) -> TrainConfig:
    """Return the configuration that a command line asks for; what it does not give is the recipe's.

    Args:
      flag_values: of the command line.
      skip: settings that have no flag.
      **values: settings that are not read from flags.

    Raises:
      UserError: a value is not allowed.
    """
    return TrainConfig.by_recipe(**settings.from_flags(TrainConfig, flag_values, skip=skip), **values)


def _defaults_by_recipe() -> dict[str, str]:
    """For each setting on which the recipes differ, what they take, in words."""
    differing = dict.fromkeys(name for recipe in RECIPES.values() for name in recipe.settings)
    found = {}
    for name in differing:
        default, to_text = settings.default_of(TrainConfig, name), settings.settings_of(TrainConfig)[name].to_text
        values = {recipe: each.settings.get(name, default) for recipe, each in RECIPES.items()}
        texts = {recipe: to_text(value) if to_text else value for recipe, value in values.items()}
        found[name] = ", ".join(
            f"{text if isinstance(text, str) else f'{text:g}'} ({recipe})"
            for recipe, text in texts.items()
            if text not in (None, "")
        )
    return found | {"recipe": f"modern, or probe for the model {models.PRETRAINED}"}
