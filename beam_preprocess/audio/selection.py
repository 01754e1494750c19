"""Tells the audio among the files of an input from all others, and counts these by kind."""

import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator

from beam_preprocess.audio.formats import EXTENSIONS, HEAD_BYTES, is_audio_content, is_audio_name
from tfrecords.files import open_regular

# For help texts and errors.
COMMON_FORMATS = f"any common audio format: {' '.join(EXTENSIONS)}"
# What lies beside music and is none, downloads that have not ended among it. A file with any other ending, or with
# none, is looked into.
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
NO_ENDING, HIDDEN, UNREADABLE = "without an ending", "hidden", "unreadable"
# Kinds of a summary in one line.
_SHOWN = 4
# "Mr. Brightside" and "blues.00000" have no ending.
_ENDING = re.compile(r"\.(?=[^.]*[a-z])[a-z0-9_+!~-]{1,10}")


def ending_of(path: str) -> str:
    """Return the lower-case ending of a file's name, with its dot; empty where there is none."""
    ending = os.path.splitext(path)[1].lower()  # noqa: PTH122
    return ending if _ENDING.fullmatch(ending) else ""


class Selection:
    """The tracks among the files of one input, and a count of the others.

    Attributes:
      others: kind (an ending, or what else is said of it) -> files that are no tracks.
    """

    def __init__(self) -> None:
        self.others: Counter[str] = Counter()

    def takes(self, path: str, read_head: Callable[[], bytes] | None = None) -> bool:
        """Return whether a file is a track; one that is none is counted.

        Args:
          path: below the input, with forward slashes.
          read_head: gives the file's first HEAD_BYTES, for a name that does not tell; None: only names count.
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
        more = sum(count for _, count in ranked[_SHOWN:])
        shown = [f"{count} {kind}" for kind, count in ranked[:_SHOWN]]
        return ", ".join([*shown, *([f"and {more} more"] if more else [])])

    def describe(self) -> str:
        """Return one line on the files that are left out; empty if there are none."""
        count = self.others.total()
        if not count:
            return ""
        return f"{count} {'file is' if count == 1 else 'files are'} no audio and left out: {self.kinds()}"


def head_of(path: str) -> bytes:
    """Return the first HEAD_BYTES of a local file.

    Raises:
      OSError: it cannot be read, or is a pipe or a device.
    """
    with open_regular(path) as file:
        return file.read(HEAD_BYTES)


def walk(folder: str, selection: Selection, fail: Callable[[OSError], None]) -> Iterator[str]:
    """Yield the paths of all tracks in a local folder and in those below; linked folders count, once.

    Args:
      folder: without a slash at its end.
      selection: chooses.
      fail: is given what keeps a folder from being listed.
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
        # A disk's own lost+found is nobody's music, and nobody's to read.
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "lost+found")
        for name in sorted(files):
            path = os.path.join(directory, name)  # noqa: PTH118
            if selection.takes(name, functools.partial(head_of, path)):
                yield path
