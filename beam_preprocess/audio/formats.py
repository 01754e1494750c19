"""Which files are audio: by a file's extension, and by its first bytes; and the tracks of a folder."""

import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tfrecords.common.files import open_regular

# Formats that are read, each covered by tests: a file with such an extension is a track.
EXTENSIONS = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd", ".flac"),
    *(".mp3", ".mp2", ".ogg", ".oga", ".opus", ".m4a", ".m4b", ".m4r", ".mp4", ".aac", ".wma", ".ac3", ".ape", ".wv"),
    *(".mka", ".webm", ".weba", ".mkv", ".mov", ".3gp"),
)
# Other formats of music. Such files are tracks too, so that none is left out in silence; what cannot be decoded is
# rejected as unsupported_format rather than as damaged.
OTHER_MUSIC_EXTENSIONS = (
    *(".mp1", ".mpa", ".mpc", ".mp+", ".mpp", ".tta", ".tak", ".shn", ".ofr", ".spx", ".amr", ".dsf", ".dff", ".dts"),
    *(".eac3", ".ec3", ".ra", ".rm", ".ogv", ".ogx", ".m4v", ".m4p", ".aa", ".aax", ".avi", ".wmv", ".asf", ".flv"),
    *(".mpg", ".mpeg", ".ts", ".m2ts", ".vob", ".voc", ".sph", ".8svx", ".iff", ".gsm", ".vqf", ".xwma", ".adts"),
    *(".mid", ".midi", ".kar", ".rmi", ".mod", ".xm", ".s3m", ".it", ".sid", ".nsf", ".spc", ".vgm"),
)
# Files often found beside music that are not audio, including unfinished downloads. A file with any other extension, or
# with none, is recognized by its first bytes.
NO_AUDIO_EXTENSIONS = frozenset(
    """
    .jpg .jpeg .png .gif .bmp .webp .tif .tiff .svg .ico .heic .heif .avif .txt .md .rst .nfo .log .csv .tsv .json
    .jsonl .xml .yaml .yml .html .htm .pdf .doc .docx .odt .rtf .xls .xlsx .ods .epub .tex .m3u .m3u8 .pls .cue .wpl
    .xspf .asx .lrc .srt .accurip .sfv .md5 .sha1 .ini .cfg .db .sqlite .url .lnk .torrent .nzb .webloc .ds_store
    .zip .rar .7z .tar .gz .tgz .bz2 .xz .iso .exe .dll .dmg .py .pyc .ipynb .sh .m .r .c .h .js .css .npy .npz .mat
    .h5 .hdf5 .mf .jams .lab .beats .arff .pkl .pickle .parquet .tfrecord .pt .onnx .asd .reapeaks .sfk .als .rpp
    .ptx .flp .musicxml .mxl .sf2
    .part .partial .crdownload .download .tmp .temp .bak .!ut
    """.split()  # noqa: SIM905 - as a list it would fill a page
)
# For help texts and errors.
COMMON_FORMATS = f"any common audio format: {' '.join(EXTENSIONS)}"
# Bytes at the start of a file by which its format is known.
HEAD_BYTES = 64
# Kinds of files that are no tracks, beside their extensions.
NO_ENDING, HIDDEN, UNREADABLE = "without an ending", "hidden", "unreadable"
# Kinds that a summary names.
_KINDS_SHOWN = 4
# An extension has a letter: "Mr. Brightside" and "blues.00000" have none.
_ENDING = re.compile(r"\.(?=[^.]*[a-z])[a-z0-9_+!~-]{1,10}")


class Container(NamedTuple):
    """A family of file formats.

    Attributes:
      name: of the family.
      sndfile_first: whether libsndfile is tried before FFmpeg: for what is PCM inside, and for Vorbis, whose last
        samples FFmpeg does not always cut off where the stream says that it ends.
      demuxers: FFmpeg's demuxers for such a file, separated by commas; no other one is tried, whatever the file holds.
    """

    name: str
    sndfile_first: bool
    demuxers: str


_CONTAINERS = tuple(
    (re.compile(magic, re.DOTALL), container)
    for magic, container in (
        (rb"RIFF....WAVE|RF64....WAVE|BW64....WAVE", Container("wav", True, "wav")),
        (rb"riff\x2e\x91\xcf\x11", Container("w64", True, "w64")),
        (rb"FORM....AIF[FC]", Container("aiff", True, "aiff")),
        (rb"caff", Container("caf", True, "caf")),
        (rb"\.snd|dns\.", Container("au", True, "au")),
        (rb"fLaC", Container("flac", True, "flac")),
        (rb"OggS.{24}\x01vorbis", Container("ogg", True, "ogg")),
        (rb"OggS", Container("ogg", False, "ogg")),
        (rb"....(?:ftyp|moov|mdat|wide|free|skip)", Container("mp4", False, "mov")),
        (rb"\x1a\x45\xdf\xa3", Container("matroska", False, "matroska")),
        (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Container("asf", False, "asf")),
        (rb"MAC ", Container("ape", False, "ape")),
        (rb"wvpk", Container("wavpack", False, "wv")),
        (rb"TTA1", Container("tta", False, "tta")),
        (rb"MPCK|MP\+", Container("musepack", False, "mpc8,mpc")),
        (rb"#!AMR", Container("amr", False, "amr")),
        (rb"DSD |FRM8", Container("dsd", False, "dsf,iff")),
        (rb"\x0b\x77", Container("ac3", False, "ac3,eac3")),
        (rb"RIFF....AVI ", Container("avi", False, "avi")),
        (rb"\x00\x00\x01\xba|\x00\x00\x01\xb3", Container("mpeg", False, "mpeg")),
        (rb"FLV|\.RMF|ajkg|tBaK|\x7f\xfe\x80\x01|#!SILK", Container("other", False, "flv,rm,shn,tak,dts")),
    )
)
# MPEG audio and its like have no mark but their frames, often after a tag.
_MPEG_AUDIO = Container("mpeg audio", False, "mp3,aac,loas,ac3,eac3,dts,flac,tta,ape,wv,mpc,mpegts")
# The tag, or the first frame of MPEG layer II or III or of AAC, with none of the reserved values.
_MPEG_AUDIO_HEAD = re.compile(rb"ID3[\x02-\x04]|\xff[\xe2\xe3\xf2-\xf5\xfa-\xfd][\x10-\xef]|\xff[\xf1\xf9][\x00-\xbf]")


def container_of(head: bytes) -> Container:
    """Return the family of a file by its first HEAD_BYTES; what has no mark is taken for MPEG audio or the like.

    Example:
      >>> container_of(b"fLaC" + bytes(60)).name
      'flac'
    """
    return next((container for magic, container in _CONTAINERS if magic.match(head)), _MPEG_AUDIO)


def is_audio_content(head: bytes) -> bool:
    """Return whether a file's first HEAD_BYTES are those of an audio format."""
    return container_of(head) is not _MPEG_AUDIO or bool(_MPEG_AUDIO_HEAD.match(head))


def is_audio_name(path: str) -> bool:
    """Return whether a file is a track by its name: it has an extension of music and is not hidden."""
    name = path.rpartition("/")[2].lower()
    return name.endswith((*EXTENSIONS, *OTHER_MUSIC_EXTENSIONS)) and not name.startswith(".")


def ending_of(path: str) -> str:
    """Return a file's extension in lower case, with its dot; empty where it has none.

    Example:
      >>> ending_of("rock/song.MP3"), ending_of("blues.00000")
      ('.mp3', '')
    """
    ending = os.path.splitext(path)[1].lower()  # noqa: PTH122
    return ending if _ENDING.fullmatch(ending) else ""


def head_of(path: str) -> bytes:
    """Return the first HEAD_BYTES of a local file.

    Raises:
      OSError: it cannot be read, or is a pipe or a device.
    """
    with open_regular(path) as file:
        return file.read(HEAD_BYTES)


class Selection:
    """Tells tracks from the other files of an input, and counts the others.

    Attributes:
      others: extension, or NO_ENDING, HIDDEN or UNREADABLE -> number of files that are no tracks.
    """

    def __init__(self) -> None:
        self.others: Counter[str] = Counter()

    def takes(self, path: str, read_head: Callable[[], bytes] | None = None) -> bool:
        """Return whether a file is a track, and count it if it is none.

        Args:
          path: below the input, with forward slashes.
          read_head: returns the file's first HEAD_BYTES, where the name does not decide; None: only names count.
        """
        if path.startswith(".") or "/." in path:
            self.others[HIDDEN] += 1
            return False
        if is_audio_name(path):
            return True
        kind = ending_of(path)
        if read_head and kind not in NO_AUDIO_EXTENSIONS:
            try:
                if is_audio_content(read_head()):
                    return True
            except OSError:
                kind = UNREADABLE
        self.others[kind or NO_ENDING] += 1
        return False

    def kinds(self) -> str:
        """Return the counts of files that are no tracks, the most frequent kinds first: "9 .jpg, 3 .txt"."""
        ranked = sorted(self.others.items(), key=lambda item: (-item[1], item[0]))
        more = sum(count for _, count in ranked[_KINDS_SHOWN:])
        shown = [f"{count} {kind}" for kind, count in ranked[:_KINDS_SHOWN]]
        return ", ".join([*shown, *([f"and {more} more"] if more else [])])

    def describe(self) -> str:
        """Return one line on the files that are left out; empty if there are none."""
        count = self.others.total()
        if not count:
            return ""
        return f"{count} {'file is' if count == 1 else 'files are'} no audio and left out: {self.kinds()}"


def walk(folder: str, selection: Selection, fail: Callable[[OSError], None]) -> Iterator[str]:
    """Yield the paths of all tracks in a local folder and below it; linked folders are followed, each once.

    Args:
      folder: without a slash at its end.
      selection: decides which files are tracks.
      fail: called with the error where a folder cannot be listed.
    """
    seen = set()
    # os.walk rather than a glob: a folder's name may hold glob characters.
    for directory, folders, files in os.walk(folder, followlinks=True, onerror=fail):
        real = os.path.realpath(directory)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in folders:
            if name.startswith("."):
                hidden = os.walk(os.path.join(directory, name))  # noqa: PTH118
                selection.others.update({HIDDEN: sum(len(below) for _, _, below in hidden)})
        # lost+found belongs to the disk, and is not readable.
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "lost+found")
        for name in sorted(files):
            path = os.path.join(directory, name)  # noqa: PTH118
            if selection.takes(name, functools.partial(head_of, path)):
                yield path
