import hashlib

import numpy as np
import pytest
import tensorflow as tf

from tfrecords.common.command_line import UserError
from trainer.training.batches import BatchLog, HostRows, count_training_patches, training_batches, validation_batches


def first_batch(job):
    batches = training_batches(job, None, epoch=0, step=0, patches=job.batch_size)
    return next(batches.as_numpy_iterator())


def test_smoothing_deals_a_share_of_each_training_label_to_all(tiny, job_of):
    _, labels = first_batch(job_of(tiny.path))
    _, smoothed = first_batch(job_of(tiny.path, "--label_smoothing=0.3"))
    assert smoothed.dtype == np.float32
    np.testing.assert_allclose(smoothed, 0.7 * np.eye(3)[labels] + 0.1, atol=1e-6)


def test_mixed_labels_are_smoothed_too(tiny, job_of):
    mixed = "--augment=mixup_alpha=1"
    patches, shares = first_batch(job_of(tiny.path, mixed))
    same, smoothed = first_batch(job_of(tiny.path, mixed, "--label_smoothing=0.3"))
    np.testing.assert_array_equal(same, patches)
    np.testing.assert_allclose(smoothed, 0.7 * shares + 0.1, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0, 0.3])
def test_balanced_labels_sum_to_their_weights(tiny, job_of, smoothing):
    job = job_of(tiny.path, "--class_weights=balanced", f"--label_smoothing={smoothing}", "--batch_size=99")
    _, labels = first_batch(job_of(tiny.path, "--batch_size=99"))
    _, rows = first_batch(job)
    # The first batch is all of the training part: weights are inverse to its numbers of patches.
    counts = np.bincount(labels)
    weights = len(labels) / (3 * counts)
    np.testing.assert_allclose(rows.sum(axis=1), weights[labels], rtol=1e-5)
    np.testing.assert_array_equal(rows.argmax(axis=1), labels)
    np.testing.assert_allclose(
        rows / rows.sum(axis=1, keepdims=True), (1 - smoothing) * np.eye(3)[labels] + smoothing / 3, atol=1e-6
    )


def test_balanced_sampling_trains_on_as_many_patches_of_every_label(tiny, job_of):
    job = job_of(tiny.path, "--sampling=balanced", "--batch_size=4")
    counts = np.bincount(first_batch(job_of(tiny.path, "--batch_size=99"))[1])
    total = count_training_patches(job, tiny.manifest)
    assert total == 3 * counts.max() and len(set(counts)) > 1
    batches = training_batches(job, None, epoch=0, step=0, patches=total).take(-(-total // 4))
    labels = np.concatenate([own for _, own in batches.as_numpy_iterator()])
    assert np.bincount(labels).tolist() == [counts.max()] * 3


def test_validation_has_the_labels_as_they_are_and_windows(tiny, job_of):
    other = job_of(tiny.path, "--batch_size=99", "--label_smoothing=0.3", "--patch_mode=random")
    patches, labels = next(validation_batches(other).as_numpy_iterator())
    expected, numbers = next(validation_batches(job_of(tiny.path, "--batch_size=99")).as_numpy_iterator())
    assert numbers.dtype == np.int32
    np.testing.assert_array_equal(patches, expected)
    np.testing.assert_array_equal(labels, np.eye(3)[numbers])


def test_random_patches_are_as_many_as_windows_and_others_in_every_epoch(tiny, job_of):
    job = job_of(tiny.path, "--patch_mode=random", "--batch_size=5")
    count = tiny.manifest.num_patches(job.parts.train, patch_frames=80, patch_hop=80)
    steps = -(-count // 5)
    made = training_batches(job, None, epoch=0, step=0, patches=count).take(2 * steps)
    found = [patches for patches, _ in made.as_numpy_iterator()]
    epochs = [np.concatenate(found[:steps]), np.concatenate(found[steps:])]
    assert [len(patches) for patches in epochs] == [count, count]
    first, second = ({patch.tobytes() for patch in patches} for patches in epochs)
    assert len(first & second) < count / 4


@pytest.mark.parametrize(
    ("hosts", "arguments", "shares"),
    [
        (2, [], True),
        (4, ["--label_smoothing=0.3"], True),
        (2, ["--class_weights=balanced"], True),
        (3, [], False),
        (2, ["--augment=gain_db=6,mixup_alpha=1"], False),
    ],
)
def test_the_rows_of_all_hosts_are_the_batches_of_one(tiny, job_of, hosts, arguments, shares):
    job = job_of(tiny.path, "--batch_size=4", *arguments)
    count = tiny.manifest.num_patches(job.parts.train, patch_frames=80, patch_hop=80)
    steps = -(-count // 4)
    rows = [HostRows(host, hosts) for host in range(hosts)]
    assert rows[0].reads_share(job) == shares

    def made(rows):
        training = training_batches(job, None, epoch=1, step=1, patches=count, rows=rows).take(2 * steps)
        return [*training.as_numpy_iterator(), *validation_batches(job, rows).as_numpy_iterator()]

    whole, own = made(None), [made(one) for one in rows]
    for number, (patches, labels) in enumerate(whole):
        of_hosts = [batches[number] for batches in own]
        assert [total for *_, total in of_hosts] == [len(labels)] * hosts
        if number < 2 * steps:
            np.testing.assert_array_equal(np.concatenate([patches for patches, *_ in of_hosts]), patches)
            np.testing.assert_array_equal(np.concatenate([labels for _, labels, _ in of_hosts]), labels)
        else:
            assert sum(len(labels) for _, labels, _ in of_hosts) == len(labels)
    assert {len(batches) for batches in own} == {len(whole)}


PATCHES, LABELS = np.arange(14, dtype=np.float32).reshape(7, 2), np.arange(7, dtype=np.int32)


def digest(place):
    return hashlib.sha256(PATCHES[place : place + 1].tobytes() + LABELS[place : place + 1].tobytes()).hexdigest()


def test_a_line_is_written_for_each_batch_once_it_was_trained_on(tmp_path):
    path = tmp_path / "log"
    path.write_text("before\n")
    log = BatchLog(path, steps=3)
    batches = log.record(tf.data.Dataset.from_tensor_slices((PATCHES, LABELS)).batch(1).prefetch(3), epoch=4, step=1)
    lines = ["before"]
    # An iterator that is begun and given up, as when Keras looks at the first batch, leaves no line.
    next(iter(batches))
    for place, (patches, labels) in enumerate(batches):
        np.testing.assert_array_equal(patches, PATCHES[place : place + 1])
        np.testing.assert_array_equal(labels, LABELS[place : place + 1])
        assert path.read_text().splitlines() == lines
        log.on_train_batch_end(99)
        lines.append(f"{4 + (place + 1) // 3} {(place + 1) % 3} {digest(place)}")
    assert path.read_text().splitlines() == lines and len(lines) == 8


def test_the_file_is_open_only_while_a_line_is_written(tmp_path):
    path = tmp_path / "log"
    log = BatchLog(path, steps=1)
    batches = log.record(tf.data.Dataset.from_tensor_slices((PATCHES, LABELS)).batch(1), epoch=0, step=0)
    for place, _ in enumerate(batches):
        # One that was open still would be written to under its other name.
        path.rename(tmp_path / f"until_{place}")
        log.on_train_batch_end(0)
        assert path.read_text() == f"{place} 0 {digest(place)}\n"


def test_a_log_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=f"^`log_batches={tmp_path}/no/log` cannot be written: No such file"):
        BatchLog(tmp_path / "no" / "log", steps=3)
