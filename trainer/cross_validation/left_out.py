"""Tracks that a comparison does not score, such as those on which choices were made."""

import codecs
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from tfrecords import example
from tfrecords.command_line import UserError
from tfrecords.files import open_regular
from trainer.cross_validation.entries import Finished, common_tracks


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A list of tracks.

    Attributes:
      track_ids: all different.
      sha256: hexadecimal checksum of its file.
    """

    track_ids: frozenset[str]
    sha256: str

    @classmethod
    def read(cls, path: Path) -> "LeftOut":
        """Reads a file of track_ids, one a line, with or without a byte order mark.

        Raises:
          UserError: it cannot be read, or names no track.
        """
        try:
            with open_regular(path) as file:
                data = file.read()
        except OSError as error:
            raise UserError(f"--leave_out={path} cannot be read: {error.strerror}") from None
        lines = data.removeprefix(codecs.BOM_UTF8).splitlines()
        track_ids = frozenset(example.to_text(line) for line in lines if line)
        if not track_ids:
            raise UserError(f"--leave_out={path} must name tracks by their track_id, one a line; it is empty")
        return cls(track_ids, hashlib.sha256(data).hexdigest())


def torn_groups(finished: Sequence[Finished], left_out: LeftOut) -> list[str]:
    """The groups of which some tracks are left out and others are scored, sorted."""
    listed: set[str] = set()
    for each in finished:
        groups = zip(each.pooled.track_ids, each.pooled.groups, strict=True)
        listed.update(group for track_id, group in groups if track_id in left_out.track_ids)
    return sorted(listed.intersection(scored(finished, left_out)[0].pooled.groups))


def scored(finished: Sequence[Finished], left_out: LeftOut | None) -> list[Finished]:
    """The cross-validations with the predictions of the tracks that all have, without those left out.

    Raises:
      UserError: a track to be left out is in none of them, or none is left.
    """
    names = left_out.track_ids if left_out else frozenset()
    if unknown := sorted(names.difference(*(each.pooled.track_ids for each in finished))):
        raise UserError(
            f"--leave_out must name tracks that give a patch; {len(unknown)} of {len(names)} are not among those "
            f"predicted, the first {unknown[0]!r}"
        )
    track_ids = [track_id for track_id in common_tracks(finished) if track_id not in names]
    if not track_ids:
        raise UserError(f"no track is left to score: {len(names)} left out, {len(common_tracks(finished))} in all")
    return [dataclasses.replace(each, pooled=each.pooled.only(track_ids)) for each in finished]
