"""Deals tracks into parts: folds, fractions or published lists. A group is never torn, labels are balanced."""

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
    """Equal weights for fold_0, fold_1, ...

    Raises:
      UserError: fewer than 2 folds.
    """
    if folds < 2:
        raise UserError(f"--folds must be at least 2, got {folds}")
    return {f"fold_{fold}": 1 / folds for fold in range(folds)}


def size_weights(train_size: float, valid_size: float | None) -> dict[str, float]:
    """Weights of train, valid and test; valid takes half of the rest unless told.

    Raises:
      UserError: a share is not above 0, or they leave nothing for test.
    """
    if not 0 < train_size < 1:
        raise UserError(f"--train_size must be between 0 and 1, got {train_size}")
    rest = 1 - train_size
    valid = rest / 2 if valid_size is None else valid_size
    if not 0 < valid < rest - 1e-9:
        raise UserError(f"--valid_size must be between 0 and {rest:g} (what --train_size leaves), got {valid}")
    return {"train": train_size, "valid": valid, "test": rest - valid}


def assign(
    tracks: Sequence[Track],
    weights: Mapping[str, float],
    *,
    seed: int,
    advice: str = "or more tracks by other artists",
) -> list[str]:
    """A part for each track, by weight: no group torn, each label spread as evenly as its groups allow.

    Groups go, largest first, to the part that is emptiest in their labels, relative to its weight, with half of the
    group counted in: without that, a part with a small weight takes a group as soon as it has none (Webster's method of
    apportionment). Ties are broken by total size, then by the parts' order; equal groups come in the order of a hash of
    (seed, group), so the result depends on nothing but the tracks, the weights and the seed. No part stays empty.

    Args:
      tracks: at least one.
      weights: part name -> share of the tracks; sums to 1.
      seed: deals equal groups in another order.
      advice: what else than fewer parts helps where there are too few groups.

    Returns:
      Part names, one per track.

    Raises:
      UserError: fewer groups than parts.
    """
    groups = _count_groups(tracks)
    if len(groups.names) < len(weights):
        raise UserError(
            f"{len(groups.names)} groups cannot be dealt into {len(weights)} parts without tearing one; "
            f"take at most {len(groups.names)} parts, {advice}"
        )
    part_of = _deal(groups, list(weights.values()), seed)
    names = list(weights)
    return [names[part] for part in part_of[groups.of_track].tolist()]


@dataclasses.dataclass(frozen=True)
class _Groups:
    """The groups of some tracks, as numbers: of millions, an object each would be too much.

    Attributes:
      names: of the groups, in the order in which they first appear.
      of_track: [tracks] int, each track's group.
      sizes: [groups] int, tracks in each.
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


def _deal(groups: _Groups, share: Sequence[float], seed: int) -> np.ndarray:
    """[groups] int, the number of each group's part, by the rule that `assign` describes."""
    totals = groups.label_totals.tolist()
    filled = [[0] * len(share) for _ in totals]
    sizes, loads = [0] * len(share), [0.0] * len(share)
    part_of = np.empty(len(groups.names), np.int64)
    for dealt, group in enumerate(_largest_first(groups, seed)):
        entries = slice(groups.first[group], groups.first[group + 1])
        own, counts = groups.labels[entries].tolist(), groups.counts[entries].tolist()
        # The emptiest part in this group's labels, each label weighed by how much of it the group brings.
        fill = _fill([filled[label] for label in own], counts, [totals[label] for label in own], share)
        # The last groups are kept for the parts that have none.
        scarce = len(groups.names) - dealt <= sizes.count(0)
        barred = [scarce and size > 0 for size in sizes]
        _, _, _, part = min(zip(barred, fill, loads, range(len(share)), strict=True))
        for label, count in zip(own, counts, strict=True):
            filled[label][part] += count
        sizes[part] += sum(counts)
        loads[part] = sizes[part] / share[part]
        part_of[group] = part
    return part_of


def _largest_first(groups: _Groups, seed: int) -> list[int]:
    """The groups' numbers by falling size, equal groups in the order of their hashes."""
    hashes = np.frombuffer(b"".join(stable_hash(seed, name) for name in groups.names), ">u8").reshape(-1, 2)
    return np.lexsort((hashes[:, 1], hashes[:, 0], -groups.sizes)).tolist()


def _fill(
    filled: Sequence[Sequence[int]], counts: Sequence[int], totals: Sequence[int], share: Sequence[float]
) -> list[float]:
    """How full each part is in the labels of a group, to 12 digits, with half of the group counted in.

    Args:
      filled: [labels][parts] tracks there.
      counts: [labels] tracks in the group.
      totals: [labels] tracks in all.
      share: [parts] weights.
    """
    if len(counts) == 1:
        # Most groups have one label, and for a few numbers NumPy takes three times as long.
        need, half, total = counts[0] / totals[0], counts[0] / 2, totals[0]
        return [
            round(need * ((there + half) / total) / weight * 1e12) / 1e12
            for there, weight in zip(filled[0], share, strict=True)
        ]
    own, all_tracks = np.array(counts)[:, np.newaxis], np.array(totals)[:, np.newaxis]
    fill = (own / all_tracks)[:, 0] @ ((np.array(filled) + own / 2) / all_tracks) / np.array(share)
    return fill.round(12).tolist()


def stable_hash(seed: int, text: str) -> bytes:
    """16 bytes that depend on seed and text only, on every machine and in every run."""
    return hashlib.blake2b(f"{seed}:{text}".encode("utf-8", "surrogateescape"), digest_size=16).digest()


def assign_by_lists(tracks: Sequence[Track], lists: Mapping[str, Sequence[str]]) -> list[str | None]:
    """A part for each track, or None for a track in no list.

    A line names a track by its path; for a track that no line names so, without regard to the extension (GTZAN's lists
    say .wav, its archive holds .au).

    Args:
      tracks: at least one.
      lists: part name -> paths.

    Raises:
      UserError: a path is in two lists, or no listed path is among the tracks.
    """
    there = {_key(track.track_id) for track in tracks}
    part_of: dict[str, str] = {}
    parts_of_stem: dict[str, list[str]] = defaultdict(list)
    for part, paths in lists.items():
        for path in paths:
            other = part_of.setdefault(_key(path), part)
            if other != part:
                raise UserError(f"--split_lists: {path} is in both {other} and {part}")
            if _key(path) not in there:
                parts_of_stem[_stem(path)].append(part)
    parts = [_only_part(track.track_id, part_of, parts_of_stem) for track in tracks]
    for part in lists:
        if part not in parts:
            raise UserError(
                f"--split_lists: no track of the list {part} is in the input "
                f"(it names {lists[part][0]}, the input has {tracks[0].track_id})"
            )
    return parts


def read_lists(location: str) -> dict[str, list[str]]:
    """The lists of a folder or glob: train.txt, valid_filtered.txt, ... -> part ("train", "valid") -> paths.

    They may lie on any file system that Beam knows.

    The name of one of facts.SPLITS means the published lists that come with this package, whatever lies in the
    directory that the program runs in; a folder of that name is ./gtzan_filtered.

    Raises:
      UserError: no list there, two for one part, or one that cannot be read or is empty.
    """
    if location in facts.SPLITS:
        if Path(location).exists():
            log(f"--split_lists={location}: the package's own lists; for the folder of that name, say ./{location}")
        return facts.split_lists(location)
    lists: dict[str, list[str]] = {}
    for name in sorted(_list_files(location), key=_list_order):
        part = Path(name).stem.partition("_")[0]
        if not (part.isascii() and part.isalnum()):
            raise UserError(f"--split_lists: {name} names no part; expected train.txt, valid.txt, test.txt")
        if part in lists:
            raise UserError(
                f"--split_lists={location}: two lists for {part}; choose with a glob such as '*_filtered.txt'"
            )
        with storage.reporting(f"--split_lists: {name} cannot be read"), storage.open_file(name) as file:
            data = file.read()
        try:
            lines = data.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise UserError(f"--split_lists: {name} cannot be read: not UTF-8 text; save it as UTF-8") from None
        lists[part] = [line.strip() for line in lines if line.strip()]
        if not lists[part]:
            raise UserError(f"--split_lists: {name} is empty")
    if not lists:
        raise UserError(
            f"--split_lists={location}: no .txt file there; expected train.txt, valid.txt, test.txt (or, for GTZAN, "
            f"{' or '.join(facts.SPLITS)})"
        )
    return lists


def _list_files(location: str) -> list[str]:
    if storage.local_path(location):
        # Whatever is there, a broken link too: a list that cannot be read is not to be left out.
        if Path(location).is_dir():
            return glob.glob(f"{glob.escape(location.rstrip('/'))}/*.txt")  # noqa: PTH207
        return [location] if os.path.lexists(location) else glob.glob(location)  # noqa: PTH207
    is_glob = any(character in location for character in MAGIC)
    return [name for name, _ in match_files(location if is_glob else f"{location.rstrip('/')}/*.txt")]


def _list_order(name: str) -> tuple[int, str]:
    stem = Path(name).stem
    ranks = [rank for rank, part in enumerate(("train", "valid", "test")) if stem.startswith(part)]
    return (ranks[0] if ranks else 3, stem)


def _only_part(track_id: str, part_of: Mapping[str, str], parts_of_stem: Mapping[str, Sequence[str]]) -> str | None:
    named = part_of.get(_key(track_id))
    found = [*([named] if named else []), *parts_of_stem.get(_stem(track_id), ())]
    for other in found:
        if other != found[0]:
            raise UserError(
                f"--split_lists: {track_id}, or its name with another extension, is in {found[0]} and {other}"
            )
    return found[0] if found else None


def _key(path: str) -> str:
    # Lists are typed by hand or copied between systems that spell accents differently.
    return unicodedata.normalize("NFC", posixpath.normpath(path))


def _stem(path: str) -> str:
    return posixpath.splitext(_key(path))[0]


def torn_groups(tracks: Sequence[Track], parts: Sequence[str | None]) -> list[str]:
    """Groups with tracks in more than one part, sorted."""
    part_of: dict[str, str] = {}
    torn = set()
    for track, part in zip(tracks, parts, strict=True):
        if part is not None and part_of.setdefault(track.group, part) != part:
            torn.add(track.group)
    return sorted(torn)
