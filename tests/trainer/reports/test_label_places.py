import numpy as np
import pytest

from trainer.reports.label_places import place_labels

BOUNDS = np.array([0.0, 0.0, 1000.0, 600.0])
NOTHING = np.zeros((0, 4))


def boxes_of(places, sizes):
    return np.concatenate([places, places + sizes], axis=1)


def shared(one, other):
    width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return max(0, width) * max(0, height)


def test_a_name_alone_is_near_its_point_and_not_on_it():
    anchor, size = np.array([500.0, 300.0]), np.array([120.0, 20.0])
    marker = np.array([[490.0, 290.0, 510.0, 310.0]])
    (place,) = place_labels(anchor[np.newaxis], size[np.newaxis], marker, BOUNDS)
    box = np.concatenate([place, place + size])
    assert shared(box, marker[0]) == 0
    assert np.linalg.norm(np.clip(anchor, place, place + size) - anchor) < 25


@pytest.mark.parametrize("seed", range(5))
def test_names_of_neighbours_do_not_cover_each_other(seed):
    rng = np.random.default_rng(seed)
    anchors = rng.uniform((350, 200), (650, 400), (10, 2))
    sizes = np.stack([rng.uniform(40, 150, 10), np.full(10, 22.0)], axis=1)
    boxes = boxes_of(place_labels(anchors, sizes, NOTHING, BOUNDS), sizes)
    assert all(shared(boxes[one], boxes[other]) == 0 for one in range(10) for other in range(one))


def test_names_stay_within_the_picture():
    anchors, sizes = np.array([[5.0, 5.0], [995.0, 595.0]]), np.full((2, 2), (150.0, 20.0))
    boxes = boxes_of(place_labels(anchors, sizes, NOTHING, BOUNDS), sizes)
    assert (boxes[:, :2] >= BOUNDS[:2]).all() and (boxes[:, 2:] <= BOUNDS[2:]).all()


def test_a_bar_beside_the_point_is_avoided():
    anchors, sizes = np.array([[500.0, 300.0]]), np.array([[120.0, 20.0]])
    for left in (505.0, 415.0):
        bar = np.array([[left, 0.0, left + 80, 600.0]])
        places = place_labels(anchors, sizes, bar, BOUNDS)
        assert shared(boxes_of(places, sizes)[0], bar[0]) == 0
