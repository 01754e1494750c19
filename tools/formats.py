"""Decodes files of real audio, and sets how long they are beside what ffprobe and ffmpeg find.

python -m tools.formats PATH [PATH ...]

A path is a file, or a folder whose files of audio (by their names) are taken, all the way down. A row each: container
and codec, how long ffprobe says that the file is, how long what ffmpeg decodes and what this project decodes lasts, how
much longer that is than ffmpeg's (ms), and the verdict: ok, or the reason why it is rejected. Where ffprobe and ffmpeg
are not installed, their columns are "-".

Exit status 1 if a file that ffmpeg decodes is rejected, or is longer or shorter than by ffmpeg by more than 50 ms.
"""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from absl import flags

from beam_preprocess.audio import Block, Reject, stream
from beam_preprocess.audio.formats import is_audio_name
from tfrecords.common import command_line
from tfrecords.common.command_line import UserError
from tfrecords.common.terminal import align_columns

TOLERANCE_S = 0.05
_OK = "ok"
_RATE_HZ, _MAX_DURATION_S = 22050, 6 * 3600.0
_AU_HEADER_BYTES = 24
_HEADER = ["file", "container", "codec", "declared s", "ffmpeg s", "ours s", "ours - ffmpeg ms", "verdict"]

FLAGS = flags.FlagValues()


class Row(NamedTuple):
    """What is found of a file; None where ffprobe or ffmpeg says nothing.

    Attributes:
      name: of the file.
      container: FFmpeg's name.
      codec: FFmpeg's name.
      declared_s: how long the file says that it is, seconds.
      ffmpeg_s: of audio that ffmpeg decodes; 0 if it decodes nothing.
      own_s: that this project decodes, up to where it rejects the file.
      verdict: "ok", or reason and detail of a reject.
    """

    name: str
    container: str | None
    codec: str | None
    declared_s: float | None
    ffmpeg_s: float | None
    own_s: float
    verdict: str

    @property
    def difference_s(self) -> float | None:
        """How much longer it is than by ffmpeg."""
        return self.own_s - self.ffmpeg_s if self.ffmpeg_s else None

    @property
    def differs(self) -> bool:
        """Whether ffmpeg decodes it and this project does not, or not to the same length."""
        return self.difference_s is not None and (self.verdict != _OK or abs(self.difference_s) > TOLERANCE_S)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Prints the table; returns the exit status."""
    paths = named_files(positional)
    installed = all(map(shutil.which, ("ffprobe", "ffmpeg")))
    rows = [row_of(path, name, ask_ffmpeg=installed) for path, name in paths]
    print(table(rows))
    if not installed:
        print("ffprobe and ffmpeg are not installed: nothing to compare with")
    rejected, differ = sum(row.verdict != _OK for row in rows), sum(row.differs for row in rows)
    print(f"{len(rows)} files, {rejected} rejected; {differ} that ffmpeg decodes are rejected or of another length")
    return int(differ > 0)


def named_files(paths: Sequence[str]) -> list[tuple[Path, str]]:
    """The files of some paths, and how they are to be called.

    Raises:
      UserError: there are none.
    """
    if not paths:
        raise UserError("name files or folders of audio (see --help)")
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file() and is_audio_name(str(file)))
            found += [(file, str(file.relative_to(path))) for file in inside]
        elif path.is_file():
            found.append((path, path.name))
        else:
            raise UserError(f"{path}: no such file or folder")
    if not found:
        raise UserError(f"no audio in {', '.join(paths)}")
    return found


def row_of(path: Path, name: str, *, ask_ffmpeg: bool) -> Row:
    """Decodes a file, by ffmpeg too if it is to be asked."""
    own_s, verdict = _decode(path)
    if not ask_ffmpeg:
        return Row(name, None, None, None, None, own_s, verdict)
    said = _probe(path)
    container: dict[str, str] = said.get("format", {})
    sound: dict[str, str] = next(iter(said.get("streams", [])), {})
    declared = sound.get("duration") or container.get("duration")
    return Row(
        name=name,
        container=container.get("format_name", "").partition(",")[0] or None,
        codec=sound.get("codec_name"),
        declared_s=float(declared) if declared else None,
        ffmpeg_s=_decode_by_ffmpeg(path),
        own_s=own_s,
        verdict=verdict,
    )


def _decode(path: Path) -> tuple[float, str]:
    """Seconds of audio, and the verdict."""
    seconds = 0.0

    def count(block: Block, mean: np.ndarray) -> None:
        nonlocal seconds
        seconds += block.samples / block.rate

    limits = {"sample_rate": _RATE_HZ, "min_samples": 1}
    try:
        with path.open("rb") as file:
            for _ in stream(file, **limits, max_duration_s=_MAX_DURATION_S, name=path.name, observe=count):
                pass
    except Reject as reject:
        return seconds, f"{reject.reason}: {reject.detail}"
    return seconds, _OK


def _probe(path: Path) -> dict[str, Any]:
    """What ffprobe says of a file and its first stream of sound; nothing if it cannot open it."""
    asked = ("-v", "error", "-select_streams", "a:0", "-show_format", "-show_streams", "-of", "json")
    finished = subprocess.run(
        ("ffprobe", *asked, f"file:{path}"),  # noqa: S607 - whichever is installed
        check=False,
        capture_output=True,
        text=True,
        errors="backslashreplace",
    )
    return json.loads(finished.stdout or "{}")


def _decode_by_ffmpeg(path: Path) -> float:
    """Seconds of audio of the first stream of sound, by the samples: ffmpeg's clock counts gaps too."""
    command = (
        *("ffmpeg", "-nostdin", "-v", "error", "-i", f"file:{path}"),
        *("-map", "0:a:0", "-ac", "1", "-c:a", "pcm_s16be", "-f", "au", "pipe:1"),
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=-1) as process:
        output = cast("BinaryIO", process.stdout)
        header = output.read(_AU_HEADER_BYTES)
        if len(header) < _AU_HEADER_BYTES:
            return 0.0
        size = _AU_HEADER_BYTES + sum(map(len, iter(lambda: output.read(1 << 20), b"")))
    audio_offset, rate = (int.from_bytes(header[place : place + 4], "big") for place in (4, 16))
    return (size - audio_offset) / (2 * rate)


def table(rows: Sequence[Row]) -> str:
    """A line for each file."""

    def seconds(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    lines = []
    for row in rows:
        times = map(seconds, (row.declared_s, row.ffmpeg_s, row.own_s))
        difference = "-" if row.difference_s is None else f"{1000 * row.difference_s:+.0f}"
        lines.append([row.name, row.container or "-", row.codec or "-", *times, difference])
    verdicts = [_HEADER[-1], *(row.verdict for row in rows)]
    cells = align_columns([_HEADER[:-1], *lines]).splitlines()
    return "\n".join(f"{line}  {verdict}" for line, verdict in zip(cells, verdicts, strict=True))


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
