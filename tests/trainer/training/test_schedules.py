import keras
import pytest

from tfrecords import patches
from tfrecords.augmentation import Augmentation
from trainer.config import PATCH_MODES, RECIPES, TrainConfig
from trainer.training import schedules
from trainer.training.schedules import new_optimizer

MODERN, PAPER, AUGMENTED = RECIPES["modern"], RECIPES["cbmi2016"], RECIPES["augmented"]
NAN, INF = float("nan"), float("inf")


def epochs(**metrics):
    return schedules.rows_of(metrics)


def losses(*values):
    return [{"loss": value, "val_loss": 1.0, "val_accuracy": 0.5} for value in values]


@pytest.mark.parametrize(
    ("history", "by_loss", "by_accuracy"),
    [
        ([], 0, 0),
        (epochs(val_accuracy=[0.1, 0.4, 0.4], val_loss=[1, 2, 0]), 3, 2),
        (epochs(val_accuracy=[0.1, 0.4, 0.4]), 0, 2),
        (epochs(val_loss=[3.0, 1.0, 2.0, 1.0]), 2, 0),
        (epochs(val_loss=[3.0, NAN, 2.0], val_accuracy=[NAN, 0.2, 0.2]), 3, 2),
        (epochs(val_loss=[NAN, NAN], val_accuracy=[0.0, 0.0]), 0, 1),
        (epochs(val_loss=[INF], val_accuracy=[NAN]), 0, 0),
        (epochs(loss=[1.0]), 0, 0),
    ],
)
def test_the_epoch_that_is_kept_is_the_first_of_the_best(history, by_loss, by_accuracy):
    assert (MODERN.best_epoch(history), PAPER.best_epoch(history)) == (by_loss, by_accuracy)


@pytest.mark.parametrize(("best", "epochs", "ends"), [(1, 3, False), (1, 4, True), (4, 6, False), (4, 7, True)])
def test_modern_ends_after_so_many_epochs_without_a_better_one(best, epochs, ends):
    history = [{"loss": 1.0, "val_loss": 0.0 if epoch == best else 1.0} for epoch in range(1, epochs + 1)]
    assert MODERN.is_done(history, epochs=99, patience=3) is ends
    assert MODERN.is_done(history, epochs=epochs, patience=99)
    assert MODERN.rate_after(history, 0.1) == 0.1


def rates(history):
    """The rate of each epoch, the one after the last included."""
    return [PAPER.rate_after(history[:epoch], 0.01) for epoch in range(len(history) + 1)]


def test_the_rate_is_halved_by_the_first_epoch_without_a_rise_after_more_than_20():
    # Twenty rises are borne, however the loss falls after them.
    assert rates(losses(5.0, *[6.0] * 20, 4.0, 3.0)) == [0.01] * 24
    # The 21st alone halves nothing; the fall after it does, for the epochs that follow.
    history = losses(5.0, *[6.0] * 21, 4.0, 3.0)
    assert rates(history) == [0.01] * 23 + [0.005] * 2
    # A loss as low as the lowest is no rise.
    assert rates(losses(5.0, *[6.0] * 21, 5.0))[-1] == 0.005


def test_rises_need_not_follow_each_other_and_are_above_the_lowest_loss_so_far():
    # Each pair falls to a new lowest and rises from it: 21 rises, and the next fall halves.
    pairs = [loss for step in range(21) for loss in (100.0 - step, 100.5 - step)]
    assert rates(losses(*pairs, 1.0)) == [0.01] * 43 + [0.005]
    # Below the epoch before, yet above the lowest: all are rises.
    falling = [9.0 - 0.1 * step for step in range(21)]
    assert rates(losses(1.0, *falling, 0.5)) == [0.01] * 23 + [0.005]


def test_the_count_begins_anew_after_each_halving():
    once = [*[6.0] * 21, 4.0]
    twice = [*once, *[6.0] * 20, 3.0]
    assert rates(losses(5.0, *twice))[-1] == 0.005
    assert rates(losses(5.0, *twice, 6.0, 2.0))[-1] == 0.0025


def test_training_ends_with_the_41st_rise():
    def ends(*values, cap=500):
        history = losses(*values)
        return [PAPER.is_done(history[:epoch], epochs=cap, patience=None) for epoch in range(len(history) + 1)]

    assert ends(5.0, *[6.0] * 41) == [False] * 42 + [True]
    # After a halving it takes 41 more; a fall that halves nothing leaves the count as it is.
    assert not any(ends(5.0, *[6.0] * 40, 4.0, *[6.0] * 40))
    assert ends(5.0, *[6.0] * 40, 4.0, *[6.0] * 41)[-1]
    assert ends(5.0, *[6.0] * 20, 4.0, *[6.0] * 21)[-2:] == [False, True]
    assert ends(5.0, 4.0, 3.0, cap=3) == [False, False, False, True]


def test_optimisers_are_those_of_the_recipes():
    adam, sgd = (new_optimizer(TrainConfig.by_recipe(name), steps=10) for name in ("modern", "cbmi2016"))
    assert isinstance(adam, keras.optimizers.Adam) and isinstance(sgd, keras.optimizers.SGD)
    assert (sgd.momentum, sgd.nesterov) == (0, False)
    assert float(sgd.learning_rate) == pytest.approx(0.01)
    for optimizer in (adam, sgd):
        optimizer.build([keras.Variable([0.0])])
    assert float(adam.learning_rate) == pytest.approx(1e-3)
    adam.iterations.assign(10)
    assert float(adam.learning_rate) == 0


def test_the_last_epoch_is_kept_where_nothing_chooses():
    history = epochs(loss=[3.0, 1.0, 2.0], val_loss=[1.0, 2.0, NAN])
    assert [AUGMENTED.best_epoch(history[:count]) for count in range(4)] == [0, 1, 2, 3]
    assert [AUGMENTED.is_done(history, epochs=count, patience=None) for count in (3, 4)] == [True, False]
    assert (AUGMENTED.describe_kept(history), MODERN.describe_kept(history)) == ("last epoch 3", "best epoch 1")


def rate_of(optimizer, step):
    optimizer.iterations.assign(step)
    return float(optimizer.learning_rate)


def test_the_rate_rises_from_0_before_the_cosine():
    config = TrainConfig.by_recipe("augmented", learning_rate=0.5, warmup=0.2)
    optimizer = new_optimizer(config, steps=25)
    optimizer.build([keras.Variable([0.0])])
    rates = [rate_of(optimizer, step) for step in (0, 1, 4, 5, 15, 25)]
    assert rates == pytest.approx([0.0, 0.1, 0.4, 0.5, 0.25, 0.0], abs=1e-7)
    # Of so few steps that none is left to rise in, all fall.
    optimizer = new_optimizer(config, steps=4)
    optimizer.build([keras.Variable([0.0])])
    assert [rate_of(optimizer, step) for step in (0, 2)] == pytest.approx([0.5, 0.25])


def test_the_other_recipes_are_what_they_were():
    for config in map(TrainConfig.by_recipe, ("modern", "cbmi2016")):
        assert (config.warmup, config.label_smoothing, config.weight_average) == (0, 0, 0)
        assert (config.augmentation, config.patch_mode, config.patch_frames) == (Augmentation(), "windows", 80)
        assert not new_optimizer(config, steps=10).use_ema


def test_the_names_of_patch_modes_are_those_of_the_reader():
    assert PATCH_MODES == patches.MODES


def test_numbers_of_the_paper():
    paper = TrainConfig.by_recipe("cbmi2016")
    assert (PAPER.optimizer, PAPER.checkpoint_metric) == ("SGD", "val_accuracy")
    assert (paper.learning_rate, paper.batch_size, paper.patience) == (0.01, 10, None)
    assert (PAPER.rises.to_halve, PAPER.rises.to_stop) == (20, 40)


def test_a_report_can_say_what_was_done():
    assert TrainConfig.by_recipe("cbmi2016").described == (
        "cbmi2016: SGD, learning rate 0.01, halved by the first new lowest training loss after more than 20 epochs "
        "above the lowest; batch 10; at most 500 epochs, ended by more than 40 above the lowest since the last "
        "halving; highest validation accuracy kept"
    )
    assert TrainConfig().described == (
        "modern: Adam, learning rate 0.001 falling to 0 along a cosine; batch 64; at most 40 epochs, until 8 epochs "
        "bring nothing better; lowest validation loss kept"
    )
    assert TrainConfig.by_recipe("augmented", epochs=60, warmup=0.1, label_smoothing=0.2).described == (
        "augmented: Adam, learning rate 0.001 reached from 0 over the first 10 % of the steps, falling to 0 along a "
        "cosine; batch 32; 60 epochs; labels smoothed by 0.2; training patches at random places; weights averaged with "
        "momentum 0.99; the last epoch kept"
    )
    plain = {"epochs": 60, "weight_average": 0.0, "patch_mode": "windows"}
    assert TrainConfig.by_recipe("augmented", **plain).described == (
        "augmented: Adam, learning rate 0.001 falling to 0 along a cosine; batch 32; 60 epochs; the last epoch kept"
    )


def test_a_history_by_epoch():
    assert schedules.rows_of({}) == []
    assert schedules.rows_of({"loss": [2.0, 1.0]}) == [{"loss": 2.0}, {"loss": 1.0}]
