"""Where the names of points go in a picture, so that they cover neither each other nor what is drawn."""

import numpy as np

_ROUNDS = 4
# Of a pixel covered: of another name or the picture's edge, and of what is drawn; and of a pixel of distance.
_ON_NAMES, _ON_DRAWN, _AWAY = 10.0, 3.0, 0.4
_ANGLES = np.deg2rad(np.arange(0, 360, 15))
_DISTANCES = (15.0, 22.0, 30.0, 45.0, 65.0, 90.0)


def place_labels(anchors: np.ndarray, sizes: np.ndarray, drawn: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Chooses a place for each name: near its point, on as little as possible.

    Each name in turn takes its cheapest place among many around its point, given the others; after some rounds that is
    good, if not the best there is.

    Args:
      anchors: [names, 2] the points, in pixels.
      sizes: [names, 2] widths and heights of the names, in pixels.
      drawn: [boxes, 4] left, bottom, right and top of what should stay visible.
      bounds: [4] the box that no name should leave.

    Returns:
      [names, 2] left and bottom of each name.
    """
    candidates = [_around(anchor, size) for anchor, size in zip(anchors, sizes, strict=True)]
    fixed = []
    for places, size, anchor in zip(candidates, sizes, anchors, strict=True):
        boxes = np.concatenate([places, places + size], axis=1)
        outside = np.prod(size) - _shared(boxes, bounds[np.newaxis])
        away = np.linalg.norm(np.clip(anchor, places, places + size) - anchor, axis=1)
        fixed.append(_ON_NAMES * outside + _ON_DRAWN * _shared(boxes, drawn) + _AWAY * away * np.sqrt(np.prod(size)))
    chosen = [int(np.argmin(costs)) for costs in fixed]
    for _ in range(_ROUNDS):
        for own, (places, size) in enumerate(zip(candidates, sizes, strict=True)):
            others = [
                np.concatenate([candidates[other][chosen[other]], candidates[other][chosen[other]] + sizes[other]])
                for other in range(len(candidates))
                if other != own
            ]
            boxes = np.concatenate([places, places + size], axis=1)
            on_names = _shared(boxes, np.array(others).reshape(-1, 4))
            chosen[own] = int(np.argmin(fixed[own] + _ON_NAMES * on_names))
    return np.array([places[number] for places, number in zip(candidates, chosen, strict=True)]).reshape(-1, 2)


def _around(anchor: np.ndarray, size: np.ndarray) -> np.ndarray:
    """[places, 2] lower left corners of boxes around a point, the nearest side of each so far from it."""
    directions = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
    # The corner, or middle of a side, that is nearest to the point.
    inward = (np.round(directions, 6) > 0) * 1.0 + (np.round(directions, 6) == 0) * 0.5
    corners = [anchor + distance * directions - (1 - inward) * size for distance in _DISTANCES]
    return np.concatenate(corners)


def _shared(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[boxes] the area of each that other boxes cover, in all."""
    low = np.maximum(boxes[:, np.newaxis, :2], others[np.newaxis, :, :2])
    high = np.minimum(boxes[:, np.newaxis, 2:], others[np.newaxis, :, 2:])
    return np.prod(np.maximum(high - low, 0), axis=2).sum(axis=1)
