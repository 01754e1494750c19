import numpy as np
import pytest
import tensorflow as tf

from tfrecords.command_line import UserError
from tfrecords.mixing import mix, mixed_steps


def numbers(offset, count=10_000):
    return tf.data.Dataset.range(offset, offset + count)


def first(dataset, count):
    return list(dataset.take(count).as_numpy_iterator())


def test_weights_decide_how_often_each_is_drawn():
    drawn = np.array(first(mix([numbers(0), numbers(100_000), numbers(200_000)], [6, 3, 0], seed=1), 3000)) // 100_000
    assert np.bincount(drawn, minlength=3) / 3000 == pytest.approx([2 / 3, 1 / 3, 0], abs=0.03)


def test_each_datasets_own_order_is_kept_and_the_choices_depend_on_the_seed_alone():
    def drawn(seed):
        return first(mix([numbers(0), numbers(100_000)], [1, 1], seed=seed), 200)

    one = drawn(0)
    tf.random.set_seed(9)
    assert drawn(0) == one != drawn(1)
    assert [value for value in one if value < 100_000] == list(range(sum(value < 100_000 for value in one)))


@pytest.mark.parametrize("step", [0, 5, 1023, 1024, 3000])
def test_a_mixture_goes_on_where_it_was(step):
    weights = [0.7, 0.3]
    taken = mixed_steps(weights, seed=4, step=step)
    assert sum(taken) == step
    whole = first(mix([numbers(0), numbers(100_000)], weights, seed=4), step + 50)
    parts = [numbers(offset).skip(count) for offset, count in zip((0, 100_000), taken, strict=True)]
    assert first(mix(parts, weights, seed=4, step=step), 50) == whole[step:]


def test_it_ends_when_the_one_drawn_has_ended():
    assert 3 <= len(list(mix([numbers(0, 3), numbers(100_000)], [1, 1]))) < 30


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, float("nan")]])
def test_weights_that_cannot_be(weights):
    with pytest.raises(UserError, match="weight"):
        mix([numbers(0), numbers(1)], weights)
