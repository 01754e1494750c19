"""What no split may tear apart, where the input itself does not say: GTZAN's artists, pieces of one recording."""

import dataclasses
from collections.abc import Sequence

from beam_preprocess.config import JobConfig
from beam_preprocess.gtzan import artists
from beam_preprocess.gtzan.clips import clip_of, genre_of
from beam_preprocess.gtzan.facts import faults
from beam_preprocess.messages import say
from beam_preprocess.pieces import find_pieces, recording_of
from beam_preprocess.tracks import Track
from tfrecords.command_line import UserError

FOLDS, GTZAN_FOLDS = 10, 5
# 660,000 to 675,808 samples of 16 bits, after a header of some bytes to some thousands.
_MIN_CLIP_BYTES, _MAX_CLIP_BYTES = 2 * 660_000, 2 * 675_808 + 4096
_EXTENSIONS = (".wav", ".au")


@dataclasses.dataclass(frozen=True)
class Grouping:
    """Tracks with their groups.

    Attributes:
      tracks: in the order given.
      folds: how many, where nobody said.
      table: whose artists the groups were taken from, when they are not the input's own; else None.
      cut_recordings: how many recordings are there in pieces, which are groups or belong to some.
    """

    tracks: Sequence[Track]
    folds: int
    table: str | None
    cut_recordings: int = 0


def group_tracks(config: JobConfig, tracks: Sequence[Track]) -> Grouping:
    """Groups as --groups wants them: the input's own, else GTZAN's, else pieces of one recording; or none at all.

    Raises:
      UserError: GTZAN's are wanted for files that are not called as its clips are.
    """
    gtzan = config.groups == "gtzan" or is_gtzan(tracks) or _is_cut_gtzan(tracks)
    folds = GTZAN_FOLDS if gtzan else FOLDS
    if config.groups == "none":
        return Grouping([dataclasses.replace(track, group=track.track_id) for track in tracks], folds, None)
    if config.groups == "auto" and any(track.group != track.track_id for track in tracks):
        return Grouping(tracks, folds, None)
    pieces = find_pieces(tracks, skip_folders=config.split.split_folders)
    if pieces.recordings:
        say(
            f"warning: {pieces.recordings} recordings seem to be in {len(pieces.recording_of)} pieces, such as "
            f"{' and '.join(pieces.example)}; pieces of one stay together (--groups=none: every track for itself)"
        )
    own = [pieces.recording_of.get(index, track.track_id) for index, track in enumerate(tracks)]
    if gtzan:
        say(
            f"{config.source}: GTZAN, by its file names; tracks of one artist or song, by the table that comes with "
            "this package, stay together (--groups=none: every track for itself)"
        )
        own = [_gtzan_group(track, group) for track, group in zip(tracks, own, strict=True)]
    grouped = [
        track if track.group == group else dataclasses.replace(track, group=group)
        for track, group in zip(tracks, own, strict=True)
    ]
    return Grouping(grouped, folds, "gtzan" if gtzan else None, pieces.recordings)


def is_gtzan(tracks: Sequence[Track]) -> bool:
    """Whether these tracks of a job's input are clips of GTZAN, all or some.

    Every one must be <genre>/<genre>.<number>.wav (or .au), labelled with that genre, and as long as GTZAN's clips are
    (but for one that is known to be damaged).
    """
    return bool(tracks) and all(map(_is_clip, tracks))


def _is_clip(track: Track) -> bool:
    clip = clip_of(track.track_id)
    if not clip or track.label != genre_of(clip) or not track.track_id.lower().endswith(_EXTENSIONS):
        return False
    return clip in faults() or _MIN_CLIP_BYTES <= (track.size or 0) <= _MAX_CLIP_BYTES


def _is_cut_gtzan(tracks: Sequence[Track]) -> bool:
    """Whether all tracks are pieces of GTZAN's clips, by their names and labels."""
    return bool(tracks) and all(
        (clip := _clip_of_piece(track.track_id)) and genre_of(clip) == track.label for track in tracks
    )


def _clip_of_piece(track_id: str) -> str | None:
    """The clip of GTZAN that a file is a piece of: "blues/blues.00000.3.wav" is one of blues.00000."""
    recording = recording_of(track_id)
    return clip_of(f"{recording}.wav") if recording else None


def _gtzan_group(track: Track, group: str) -> str:
    """The group of a clip or of a piece of one: its artists, if they are known, else the clip."""
    clip, piece_of = clip_of(track.track_id), _clip_of_piece(track.track_id)
    if piece_of or group != track.track_id:
        # One clip has one name, whatever folders its files lie in.
        clip = clip or piece_of
        group = f"{genre_of(clip)}/{clip}" if clip else group
    if not clip:
        raise UserError(f"--groups=gtzan: {track.track_id} is no clip of GTZAN, such as blues/blues.00000.wav")
    return artists.groups().get(clip, group)
