import numpy as np
import pytest

from trainer.training.batches import training_batches, validation_batches


def first_batch(job):
    steps = 1
    batches = training_batches(job, None, epoch=0, step=0, steps=steps)
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


@pytest.mark.parametrize("arguments", [[], ["--label_smoothing=0.3", "--patch_mode=random"]])
def test_validation_has_the_labels_as_they_are_and_windows(tiny, job_of, arguments):
    patches, labels = next(validation_batches(job_of(tiny.path, "--batch_size=99", *arguments)).as_numpy_iterator())
    expected, numbers = next(validation_batches(job_of(tiny.path, "--batch_size=99")).as_numpy_iterator())
    np.testing.assert_array_equal(patches, expected)
    np.testing.assert_array_equal(labels, np.eye(3)[numbers] if arguments else numbers)


def test_random_patches_are_as_many_as_windows_and_others_in_every_epoch(tiny, job_of):
    job = job_of(tiny.path, "--patch_mode=random", "--batch_size=5")
    count = tiny.manifest.num_patches(job.parts.train, patch_frames=80, patch_hop=80)
    steps = -(-count // 5)
    made = training_batches(job, None, epoch=0, step=0, steps=steps).take(2 * steps)
    found = [patches for patches, _ in made.as_numpy_iterator()]
    epochs = [np.concatenate(found[:steps]), np.concatenate(found[steps:])]
    assert [len(patches) for patches in epochs] == [count, count]
    first, second = ({patch.tobytes() for patch in patches} for patches in epochs)
    assert len(first & second) < count / 4
