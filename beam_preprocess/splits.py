"""Splitting tracks into parts: folds, fractions or published lists. Groups stay together, labels are balanced."""

import dataclasses
import glob
import hashlib
import os
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from beam_preprocess import storage
from beam_preprocess.config import MAGIC
from beam_preprocess.gtzan import facts
from beam_preprocess.inputs.tracks import Track, match_files
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import log


def fold_weights(folds: int) -> dict[str, float]:
    """Return equal weights for fold_0, fold_1, ...

    >>> fold_weights(2)
    {'fold_0': 0.5, 'fold_1': 0.5}

    Raises:
      UserError: fewer than 2 folds.
    """
    if folds < 2:
        raise UserError(f"`folds` must be at least 2, got {folds}")
    return {f"fold_{fold}": 1 / folds for fold in range(folds)}


def size_weights(train_size: float, valid_size: float | None) -> dict[str, float]:
    """Return the weights of train, valid and test.

    Args:
      train_size: share of train.
      valid_size: share of valid; None: half of what train leaves.

    Raises:
      UserError: a share is not above 0, or they leave nothing for test.
    """
    if not 0 < train_size < 1:
        raise UserError(f"`train_size` must be between 0 and 1, got {train_size}")
    rest = 1 - train_size
    valid = rest / 2 if valid_size is None else valid_size
    if not 0 < valid < rest - 1e-9:
        raise UserError(f"`valid_size` must be between 0 and {rest:g} (what `train_size` leaves), got {valid}")
    return {"train": train_size, "valid": valid, "test": rest - valid}


def assign(
    tracks: Sequence[Track],
    weights: Mapping[str, float],
    *,
    seed: int,
    advice: str = "or more tracks by other artists",
) -> list[str]:
    """Assign each track to a part, by weight: groups stay together, labels are spread as evenly as their groups allow.

    Groups are assigned, largest first, to the part that is emptiest in their labels relative to its weight, with half
    of the group counted in: without that, a part with a small weight takes a group as soon as it has none (Webster's
    method of apportionment). Ties are broken by total size, then by the parts' order. Groups of equal size are taken in
    the order of a hash of (seed, group), so the result depends only on the tracks, the weights and the seed. No part
    stays empty.

    Args:
      tracks: at least one.
      weights: part name -> share of the tracks; they sum to 1.
      seed: another seed takes groups of equal size in another order.
      advice: what to suggest, besides fewer parts, if there are too few groups.

    Returns:
      A part name for each track.

    Raises:
      UserError: fewer groups than parts.
    """
    groups = _count_groups(tracks)
    if len(groups.names) < len(weights):
        raise UserError(
            f"{len(groups.names)} groups cannot be split into {len(weights)} parts; "
            f"use at most {len(groups.names)} parts, {advice}"
        )
    part_of = _assign_groups(groups, list(weights.values()), seed)
    names = list(weights)
    return [names[part] for part in part_of[groups.of_track].tolist()]


@dataclasses.dataclass(frozen=True)
class _Groups:
    """The groups of some tracks, as arrays: millions of groups would take too much memory as objects.

    Attributes:
      names: of the groups, in the order in which they first appear.
      of_track: [tracks] int, each track's group.
      sizes: [groups] int, tracks in each group.
      first: [groups + 1] int, where a group's entries begin in the next two; they end where the next group's begin.
      labels: [entries] int, a group's labels, in the order in which they first appear in it.
      counts: [entries] int, the group's tracks with that label.
      label_totals: [labels] int, tracks with each label.
    """

    names: list[str]
    of_track: np.ndarray
    sizes: np.ndarray
    first: np.ndarray
    labels: np.ndarray
    counts: np.ndarray
    label_totals: np.ndarray


def _count_groups(tracks: Sequence[Track]) -> _Groups:
    labels = {label: index for index, label in enumerate(sorted({track.label for track in tracks}))}
    numbers: dict[str, int] = {}
    of_track = np.fromiter((numbers.setdefault(track.group, len(numbers)) for track in tracks), np.int64, len(tracks))
    label_of = np.fromiter((labels[track.label] for track in tracks), np.int64, len(tracks))
    entries, appears, counts = np.unique(of_track * len(labels) + label_of, return_index=True, return_counts=True)
    order = np.lexsort((appears, entries // len(labels)))
    sizes = np.bincount(of_track)
    return _Groups(
        names=list(numbers),
        of_track=of_track,
        sizes=sizes,
        first=np.searchsorted(entries // len(labels), np.arange(len(numbers) + 1)),
        labels=entries[order] % len(labels),
        counts=counts[order],
        label_totals=np.bincount(label_of),
    )


def _assign_groups(groups: _Groups, weights: Sequence[float], seed: int) -> np.ndarray:
    """Return [groups] int, the index of each group's part, by the rule that `assign` describes."""
    totals = groups.label_totals.tolist()
    filled = [[0] * len(weights) for _ in totals]
    sizes, loads = [0] * len(weights), [0.0] * len(weights)
    part_of = np.empty(len(groups.names), np.int64)
    for assigned, group in enumerate(_largest_first(groups, seed)):
        entries = slice(groups.first[group], groups.first[group + 1])
        labels, counts = groups.labels[entries].tolist(), groups.counts[entries].tolist()
        fill = _fill([filled[label] for label in labels], counts, [totals[label] for label in labels], weights)
        # The last groups are reserved for the parts that have none.
        scarce = len(groups.names) - assigned <= sizes.count(0)
        barred = [scarce and size > 0 for size in sizes]
        _, _, _, part = min(zip(barred, fill, loads, range(len(weights)), strict=True))
        for label, count in zip(labels, counts, strict=True):
            filled[label][part] += count
        sizes[part] += sum(counts)
        loads[part] = sizes[part] / weights[part]
        part_of[group] = part
    return part_of


def _largest_first(groups: _Groups, seed: int) -> list[int]:
    """Return the groups' indices by decreasing size, groups of equal size in the order of their hashes."""
    hashes = np.frombuffer(b"".join(stable_hash(seed, name) for name in groups.names), ">u8").reshape(-1, 2)
    return np.lexsort((hashes[:, 1], hashes[:, 0], -groups.sizes)).tolist()


def _fill(
    filled: Sequence[Sequence[int]], counts: Sequence[int], totals: Sequence[int], weights: Sequence[float]
) -> list[float]:
    """Return how full each part is in the labels of a group, to 12 digits, with half of the group counted in.

    Each label counts by the share of its tracks that the group has.

    Args:
      filled: [labels][parts] tracks assigned so far.
      counts: [labels] tracks in the group.
      totals: [labels] tracks in total.
      weights: [parts] shares of the tracks.
    """
    if len(counts) == 1:
        # Most groups have one label, and NumPy takes three times as long for so few numbers.
        need, half, total = counts[0] / totals[0], counts[0] / 2, totals[0]
        return [
            round(need * ((tracks + half) / total) / weight * 1e12) / 1e12
            for tracks, weight in zip(filled[0], weights, strict=True)
        ]
    group, all_tracks = np.array(counts)[:, np.newaxis], np.array(totals)[:, np.newaxis]
    fill = (group / all_tracks)[:, 0] @ ((np.array(filled) + group / 2) / all_tracks) / np.array(weights)
    return fill.round(12).tolist()


def stable_hash(seed: int, text: str) -> bytes:
    """Return 16 bytes that depend only on seed and text, on every machine and in every run."""
    return hashlib.blake2b(f"{seed}:{text}".encode("utf-8", "surrogateescape"), digest_size=16).digest()


def assign_by_lists(tracks: Sequence[Track], lists: Mapping[str, Sequence[str]]) -> list[str | None]:
    """Return a part for each track, or None for a track in no list.

    A line of a list is the path of a track. If no track has that path, it matches without its extension (GTZAN's lists
    have .wav, its archive .au).

    Args:
      tracks: at least one.
      lists: part name -> paths.

    Raises:
      UserError: a path is in two lists, or no listed path is among the tracks.
    """
    keys = {_key(track.track_id) for track in tracks}
    part_of: dict[str, str] = {}
    parts_of_stem: dict[str, list[str]] = defaultdict(list)
    for part, paths in lists.items():
        for path in paths:
            other = part_of.setdefault(_key(path), part)
            if other != part:
                raise UserError(f"`split_lists`: {path} is in both {other} and {part}")
            if _key(path) not in keys:
                parts_of_stem[_stem(path)].append(part)
    parts = [_only_part(track.track_id, part_of, parts_of_stem) for track in tracks]
    for part in lists:
        if part not in parts:
            raise UserError(
                f"`split_lists`: no track of the list {part} is in the input "
                f"(it names {lists[part][0]}, the input has {tracks[0].track_id})"
            )
    return parts


def read_lists(location: str) -> dict[str, list[str]]:
    """Read published lists of tracks: train.txt, valid_filtered.txt, ...

    Args:
      location: a folder or glob, on any file system that Beam supports; or one of facts.SPLITS, the lists that come
        with this package, even if there is a folder of that name (which is ./gtzan_filtered, say).

    Returns:
      part ("train", "valid", ...) -> paths.

    Raises:
      UserError: there is no list, there are two for one part, or one is empty or cannot be read.
    """
    if location in facts.SPLITS:
        if Path(location).exists():
            log(f"{location}: the lists that come with this package; for the folder of that name, give ./{location}")
        return facts.split_lists(location)
    lists: dict[str, list[str]] = {}
    for name in sorted(_list_files(location), key=_list_order):
        part = Path(storage.split(name)[1]).stem.partition("_")[0]
        if not (part.isascii() and part.isalnum()):
            raise UserError(f"`split_lists`: {name} does not name a part; expected train.txt, valid.txt, test.txt")
        if part in lists:
            raise UserError(
                f"split_lists={location}: two lists for {part}; choose with a glob such as '*_filtered.txt'"
            )
        lists[part] = _read_list(name)
    if not lists:
        raise UserError(
            f"split_lists={location}: no .txt file there; expected train.txt, valid.txt, test.txt (or, for GTZAN, "
            f"{' or '.join(facts.SPLITS)})"
        )
    return lists


def _read_list(name: str) -> list[str]:
    with storage.reporting(f"`split_lists`: {name} cannot be read"), storage.open_file(name) as file:
        data = file.read()
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"`split_lists`: {name} cannot be read: not UTF-8 text; save it as UTF-8") from None
    paths = [line.strip() for line in lines if line.strip()]
    if not paths:
        raise UserError(f"`split_lists`: {name} is empty")
    return paths


def _list_files(location: str) -> list[str]:
    with storage.reporting(f"`split_lists`: {location} cannot be read"):
        location = storage.plain(location)
        in_store = storage.is_remote(location)
    if not in_store:
        # Broken links too: a list that cannot be read is an error, and must not be skipped.
        if Path(location).is_dir():
            return glob.glob(f"{glob.escape(location.rstrip('/'))}/*.txt")  # noqa: PTH207
        return [location] if os.path.lexists(location) else glob.glob(location)  # noqa: PTH207
    is_glob = any(character in location for character in MAGIC)
    return [name for name, _ in match_files(location if is_glob else f"{location.rstrip('/')}/*.txt")]


def _list_order(name: str) -> tuple[int, str]:
    stem = Path(storage.split(name)[1]).stem
    ranks = [rank for rank, part in enumerate(("train", "valid", "test")) if stem.startswith(part)]
    return (ranks[0] if ranks else 3, stem)


def _only_part(track_id: str, part_of: Mapping[str, str], parts_of_stem: Mapping[str, Sequence[str]]) -> str | None:
    by_path = part_of.get(_key(track_id))
    parts = [*([by_path] if by_path else []), *parts_of_stem.get(_stem(track_id), ())]
    for other in parts:
        if other != parts[0]:
            raise UserError(
                f"`split_lists`: {track_id}, or its name with another extension, is in {parts[0]} and {other}"
            )
    return parts[0] if parts else None


def _key(path: str) -> str:
    # Lists are typed by hand, or copied between systems that encode accents differently.
    return unicodedata.normalize("NFC", posixpath.normpath(path))


def _stem(path: str) -> str:
    return posixpath.splitext(_key(path))[0]


def leaking_groups(tracks: Sequence[Track], parts: Sequence[str | None]) -> list[str]:
    """Return the groups with tracks in more than one part, sorted."""
    part_of: dict[str, str] = {}
    leaking = set()
    for track, part in zip(tracks, parts, strict=True):
        if part is not None and part_of.setdefault(track.group, part) != part:
            leaking.add(track.group)
    return sorted(leaking)
