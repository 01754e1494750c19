import numpy as np
import pytest
import tensorflow as tf

from trainer.distribution.loop import replica_batches

PATCHES = np.arange(7 * 6, dtype=np.float32).reshape(7, 3, 2, 1)
LABELS = np.arange(7, dtype=np.int32)


def global_batches(labels=LABELS):
    # As `load` gives them: of unknown size.
    batches = tf.data.Dataset.from_tensor_slices((PATCHES, labels)).batch(4)
    return batches.map(lambda *arrays: tuple(tf.ensure_shape(each, [None, *each.shape[1:]]) for each in arrays))


@pytest.mark.parametrize(
    ("replicas", "local", "rows"), [(1, 1, 4), (2, 1, 2), (2, 2, 2), (3, 1, 2), (4, 2, 1), (8, 4, 1)]
)
def test_every_row_is_given_to_one_replica_and_counts_alike(replicas, local, rows):
    given = []
    for first in range(0, replicas, local):
        own = replica_batches(global_batches(), batch_size=4, replicas=replicas, first=first, local=local)
        assert [spec.shape[0] for spec in own.element_spec] == [rows] * 3
        elements = list(own.as_numpy_iterator())
        assert len(elements) == 2 * local
        given.append([elements[:local], elements[local:]])
    for step, (begin, end) in enumerate([(0, 4), (4, 7)]):
        patches, labels, weights = (
            np.concatenate(each) for each in zip(*(one for host in given for one in host[step]), strict=True)
        )
        there = weights > 0
        np.testing.assert_array_equal(labels[there], LABELS[begin:end])
        np.testing.assert_array_equal(patches[there], PATCHES[begin:end])
        np.testing.assert_allclose(weights[there], 1 / (end - begin))
        assert not patches[~there].any()


def test_mixed_labels_keep_their_shape():
    own = replica_batches(global_batches(np.eye(7, dtype=np.float32)), batch_size=4, replicas=2, first=1, local=1)
    labels = [element[1] for element in own.as_numpy_iterator()]
    np.testing.assert_array_equal(labels, [np.eye(7)[2:4], [np.eye(7)[6], np.zeros(7)]])
