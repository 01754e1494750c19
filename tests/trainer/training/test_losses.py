import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from trainer.evaluation import metrics
from trainer.training.losses import F1, RECALL, MacroScore, WeightedCrossentropy, balanced_weights

LABELS = np.array([0, 0, 0, 1, 2, 2], np.int32)
LOGITS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def test_balanced_weights_are_those_of_scikit_learn():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(balanced_weights(np.bincount(LABELS)), expected)
    assert balanced_weights(np.bincount(LABELS))[LABELS].mean() == pytest.approx(1)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_row_that_sums_to_a_weight_is_a_loss_times_that_weight(compiled):
    weights = np.array([2, 0.5, 1, 3, 0.1, 0], np.float32)
    shares = np.eye(4, dtype=np.float32)[LABELS] * 0.9 + 0.025

    def gradient(labels, loss, times):
        logits = tf.Variable(LOGITS)

        def losses():
            return tf.reduce_sum(times * loss.call(labels, keras.ops.softmax(logits)))

        with tf.GradientTape() as tape:
            value = tf.function(losses)() if compiled else losses()
        return value.numpy(), tape.gradient(value, logits).numpy()

    plain = gradient(tf.constant(shares), keras.losses.CategoricalCrossentropy(), tf.constant(weights))
    found = gradient(tf.constant(shares * weights[:, np.newaxis]), WeightedCrossentropy(), tf.ones(6))
    np.testing.assert_allclose(found[0], plain[0], rtol=1e-5)
    np.testing.assert_allclose(found[1], plain[1], atol=1e-6)


@pytest.mark.parametrize("name", [RECALL, F1])
@pytest.mark.parametrize("soft", [False, True])
def test_macro_scores_are_those_of_an_evaluation(name, soft):
    score = MacroScore(name, num_labels=4)
    labels = np.eye(4, dtype=np.float32)[LABELS] if soft else LABELS
    for batch in (slice(0, 4), slice(4, 6)):
        score.update_state(labels[batch], LOGITS[batch])
    confusion = metrics.confusion_matrix(LABELS, LOGITS.argmax(axis=1), 4)
    assert float(score.result()) == pytest.approx(metrics.macro_scores(confusion)[name], abs=1e-6)
    score.reset_state()
    assert float(score.result()) == 0
    assert MacroScore.from_config(score.get_config()).name == name
