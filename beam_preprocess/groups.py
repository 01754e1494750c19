"""Which tracks must stay in one part: groups named by the input, else GTZAN's artists, else pieces of one recording.

Pieces are known by their names: blues.00000.0.wav ... blues.00000.9.wav, or song_part1.mp3.
"""

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set

from beam_preprocess.audio.formats import ending_of
from beam_preprocess.config import JobConfig
from beam_preprocess.gtzan import facts
from beam_preprocess.gtzan.facts import clip_of, faults, genre_of
from beam_preprocess.inputs.tracks import Track
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import log

FOLDS, GTZAN_FOLDS = 10, 5
_WORDS = ("part", "piece", "chunk", "segment", "seg", "clip", "slice", "split", "excerpt")
_PIECE_NAME = re.compile(
    r"(?P<stem>.*?[^\s._\-])[\s._\-(\[#]+"
    rf"(?:(?P<word>{'|'.join(_WORDS)})s?[\s._\-#]*)?"
    r"(?P<number>[0-9]{1,6})(?:[\s._\-]*of[\s._\-]*[0-9]{1,6})?[)\]]?",
    re.IGNORECASE | re.DOTALL,
)
# Pieces are numbered from first to last with at least this share present; some may have been thrown away.
_MIN_SHARE = 0.8
# GTZAN's clips have 660,000 to 675,808 samples of 16 bits, after a header of a few bytes to a few thousand.
_MIN_CLIP_BYTES, _MAX_CLIP_BYTES = 2 * 660_000, 2 * 675_808 + 4096
_CLIP_EXTENSIONS = (".wav", ".au")


@dataclasses.dataclass(frozen=True)
class Grouping:
    """Tracks with their groups.

    Attributes:
      tracks: in the order given.
      folds: the default number of folds.
      table: the table of artists that the groups were taken from ("gtzan"), or None.
      cut_recordings: number of recordings that are cut into pieces, which are groups or belong to some.
    """

    tracks: Sequence[Track]
    folds: int
    table: str | None
    cut_recordings: int = 0


def group_tracks(config: JobConfig, tracks: Sequence[Track]) -> Grouping:
    """Group tracks as `config.groups` says: by the input's own groups, else by GTZAN's, else by recording; or not.

    Raises:
      UserError: GTZAN's groups are requested for files that are not named like its clips.
    """
    gtzan = config.groups == "gtzan" or is_gtzan(tracks) or _is_cut_gtzan(tracks)
    folds = GTZAN_FOLDS if gtzan else FOLDS
    if config.groups == "none":
        return Grouping([dataclasses.replace(track, group=track.track_id) for track in tracks], folds, None)
    if config.groups == "auto" and any(track.group != track.track_id for track in tracks):
        return Grouping(tracks, folds, None)
    pieces = find_pieces(tracks, skip_folders=config.split.split_folders)
    if pieces.recordings:
        log(
            f"warning: {pieces.recordings} recordings seem to be in {len(pieces.recording_of)} pieces, such as "
            f"{' and '.join(pieces.example)}; pieces of one stay together (`groups=none`: every track for itself)"
        )
    groups = [pieces.recording_of.get(index, track.track_id) for index, track in enumerate(tracks)]
    if gtzan:
        log(
            f"{config.source}: GTZAN, by its file names; tracks of one artist or song, by the table that comes with "
            "this package, stay together (`groups=none`: every track for itself)"
        )
        groups = [_gtzan_group(track, group) for track, group in zip(tracks, groups, strict=True)]
    grouped = [
        track if track.group == group else dataclasses.replace(track, group=group)
        for track, group in zip(tracks, groups, strict=True)
    ]
    return Grouping(grouped, folds, "gtzan" if gtzan else None, pieces.recordings)


def is_gtzan(tracks: Sequence[Track]) -> bool:
    """Return whether the tracks are clips of GTZAN, all of them or some.

    Every track must be <genre>/<genre>.<number>.wav (or .au), be labelled with that genre, and have the size of a clip,
    unless it is known to be damaged.
    """
    return bool(tracks) and all(map(_is_clip, tracks))


def _is_clip(track: Track) -> bool:
    clip = clip_of(track.track_id)
    if not clip or track.label != genre_of(clip) or not track.track_id.lower().endswith(_CLIP_EXTENSIONS):
        return False
    return clip in faults() or _MIN_CLIP_BYTES <= (track.size or 0) <= _MAX_CLIP_BYTES


def _is_cut_gtzan(tracks: Sequence[Track]) -> bool:
    """Return whether all tracks are pieces of GTZAN's clips, by their names and labels."""
    return bool(tracks) and all(
        (clip := _clip_of_piece(track.track_id)) and genre_of(clip) == track.label for track in tracks
    )


def _clip_of_piece(track_id: str) -> str | None:
    """Return the GTZAN clip that a file is a piece of: blues.00000 for "blues/blues.00000.3.wav"."""
    recording = recording_of(track_id)
    return clip_of(f"{recording}.wav") if recording else None


def _gtzan_group(track: Track, group: str) -> str:
    """Return the group of a clip, or of a piece of one: its artists if they are known, else the clip."""
    clip, piece_of = clip_of(track.track_id), _clip_of_piece(track.track_id)
    if piece_of or group != track.track_id:
        # Whatever folders its files are in, a clip has one name.
        clip = clip or piece_of
        group = f"{genre_of(clip)}/{clip}" if clip else group
    if not clip:
        raise UserError(f"`groups=gtzan`: {track.track_id} is not a clip of GTZAN, such as blues/blues.00000.wav")
    return facts.groups().get(clip, group)


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Recordings that are cut into pieces.

    Attributes:
      recording_of: index of a track -> path, without extension, of the recording that it is a piece of.
      recordings: number of such recordings.
      example: the paths of two pieces of one recording.
    """

    recording_of: Mapping[int, str]
    recordings: int
    example: tuple[str, ...]


def recording_of(path: str) -> str | None:
    """Return the path, without extension, of the recording that a file may be a piece of by its name, or None.

    >>> recording_of("blues/blues.00000.3.wav"), recording_of("fma/000002.mp3")
    ('blues/blues.00000', None)
    """
    folder, slash, name = path.rpartition("/")
    match = _PIECE_NAME.fullmatch(_stem(name))
    return f"{folder}{slash}{match['stem']}" if match else None


def find_pieces(tracks: Sequence[Track], *, skip_folders: int = 0) -> Pieces:
    """Find the tracks that are pieces of recordings.

    Pieces are files of one folder whose names are the same stem, a separator and a number. The stem is a recording

    - if a word such as "part" stands before the number, or
    - if the numbers run from 0 or 1, and those of another stem of the folder do too: a folder of rock.00000,
      rock.00001 ... holds as many recordings as files.

    A stem that is named like its label is not a recording, nor is one without such a word that has all files of a
    label. A file that is named like a recording belongs to it.

    Args:
      tracks: in any order.
      skip_folders: number of leading folders of each path to ignore; files of equal names in them are of one recording.
    """
    folders: dict[str, list[int]] = defaultdict(list)
    for index, track in enumerate(tracks):
        folder = track.track_id.rpartition("/")[0]
        folders["/".join(folder.split("/")[skip_folders:])].append(index)
    label_counts = Counter(track.label for track in tracks)
    recordings: dict[int, str] = {}
    for folder, indices in folders.items():
        names = {index: _stem(tracks[index].track_id.rpartition("/")[2]) for index in indices}
        for index, stem in _pieces_in_folder(names, tracks, label_counts).items():
            recordings[index] = f"{folder}/{stem}" if folder else stem
    members: dict[str, list[str]] = defaultdict(list)
    for index, recording in recordings.items():
        members[recording].append(tracks[index].track_id)
    example = sorted(members[min(members)])[:2] if members else []
    return Pieces(recordings, len(members), tuple(example))


def _stem(name: str) -> str:
    """Return a file's name without its extension; a number at its end is not an extension."""
    return name[: len(name) - len(ending_of(name))]


def _pieces_in_folder(
    names: Mapping[int, str], tracks: Sequence[Track], label_counts: Mapping[str, int]
) -> dict[int, str]:
    """Return index -> recording of the pieces among the files of one folder, and of files named like a recording."""
    members: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for index, name in names.items():
        if match := _PIECE_NAME.fullmatch(name):
            members[match["stem"], bool(match["word"])].append(index)
    stems, whole_names = {stem for stem, _ in members}, set(names.values())
    worded, numbered = set(), set()
    for (stem, has_word), indices in members.items():
        labels = Counter(tracks[index].label for index in indices)
        if _letters(stem) in map(_letters, labels):
            continue
        if has_word and (len(indices) > 1 or stem in whole_names):
            worded.add(stem)
        # Of bl.00000 and bl.00000.0, the latter is the piece.
        if not has_word and not any(names[index] in stems for index in indices):
            has_all_of_a_label = any(label_counts[label] == count for label, count in labels.items())
            if not has_all_of_a_label and _is_run({_number(names[index]) for index in indices}):
                numbered.add(stem)
    recordings = worded | numbered if len(numbered) > 1 else worded
    pieces = {index: stem for (stem, _), indices in members.items() if stem in recordings for index in indices}
    return pieces | {index: name for index, name in names.items() if name in recordings}


def _number(name: str) -> int:
    match = _PIECE_NAME.fullmatch(name)
    return int(match["number"]) if match else 0


def _is_run(numbers: Set[int]) -> bool:
    """Return whether there are several numbers, from 0 or 1, with few gaps."""
    first = 0 if 0 in numbers else 1
    return len(numbers) > 1 and len(numbers) >= _MIN_SHARE * (max(numbers) - first + 1)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))
