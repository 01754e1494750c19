import numpy as np
import pytest

from trainer.evaluation.label_errors import find_label_errors


def made_up(*, labels=4, tracks=200, wrong=10, seed=0):
    """Probabilities of a fair model, the labels that tracks have, and the numbers of those that are wrong."""
    rng = np.random.default_rng(seed)
    true = rng.integers(labels, size=tracks)
    logits = rng.normal(size=(tracks, labels))
    logits[np.arange(tracks), true] += 2.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    planted = rng.choice(tracks, wrong, replace=False)
    given = true.copy()
    given[planted] = (true[planted] + rng.integers(1, labels, wrong)) % labels
    return probabilities, given, set(planted.tolist()), true


@pytest.mark.parametrize("seed", range(5))
def test_planted_errors_lead_the_list_with_what_they_are(seed):
    probabilities, given, planted, true = made_up(seed=seed)
    found = find_label_errors(probabilities, given)
    first = found.order[: len(planted)].tolist()
    hits = planted.intersection(first)
    assert len(hits) >= 0.6 * len(planted)
    assert np.mean([found.suggested[track] == true[track] for track in hits]) >= 0.8


def test_suspects_are_at_most_as_many_as_the_confident_joint_has_off_its_diagonal():
    probabilities, given, _, _ = made_up()
    found = find_label_errors(probabilities, given)
    joint = found.confident_joint
    assert joint.sum() - np.trace(joint) >= found.is_suspect.sum() > 0
    suspects = np.flatnonzero(found.is_suspect)
    assert np.array_equal(np.sort(found.order[: len(suspects)]), suspects)
    assert not (found.suggested == given).any()


def test_a_model_that_favours_a_label_does_not_make_suspects_of_all_others():
    probabilities, given, planted, _ = made_up(tracks=400)
    probabilities[:, 0] += 1.0
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert (probabilities.argmax(axis=1) == 0).mean() > 0.6
    found = find_label_errors(probabilities, given)
    assert found.is_suspect.mean() < 0.2
    assert len(planted.intersection(found.order[:10].tolist())) >= 5


@pytest.mark.parametrize("seed", range(5))
def test_an_artist_s_other_tracks_tell_an_error_of_one_of_them(seed):
    probabilities, _, _, true = made_up(seed=seed, tracks=300)
    # Three tracks of each artist, of one genre, which a weak model is not sure of.
    true = np.repeat(true[::3], 3)
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(300, 4))
    logits[np.arange(300), true] += 1
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    planted = rng.choice(300, 15, replace=False)
    given = true.copy()
    given[planted] = (true[planted] + rng.integers(1, 4, 15)) % 4
    artists = [f"artist {track // 3}" for track in range(300)]

    def hits(groups):
        return len(
            set(planted.tolist()).intersection(find_label_errors(probabilities, given, groups).order[:15].tolist())
        )

    assert hits(artists) > hits(None)
    # Of groups of one track each, nothing is known.
    assert hits([str(track) for track in range(300)]) == hits(None)


def test_groups_are_one_for_each_track():
    with pytest.raises(ValueError, match="groups must be one for each of 3 tracks, got 2"):
        find_label_errors(np.full((3, 2), 0.5), np.array([0, 1, 0]), ["a", "b"])


def test_a_label_without_tracks_is_never_suggested_for_sure():
    probabilities, given, _, _ = made_up(labels=3)
    wider = np.concatenate([probabilities, np.full((len(given), 1), 0.05)], axis=1)
    found = find_label_errors(wider, given)
    assert not (found.suggested[found.is_suspect] == 3).any() and not found.confident_joint[:, 3].any()


@pytest.mark.parametrize(
    ("shape", "labels"), [((3,), [0, 1, 0]), ((3, 1), [0, 0, 0]), ((3, 2), [0, 1]), ((3, 2), [0, 1, 2])]
)
def test_what_is_no_prediction_is_refused(shape, labels):
    with pytest.raises(ValueError, match="must be"):
        find_label_errors(np.full(shape, 0.5), np.array(labels))
