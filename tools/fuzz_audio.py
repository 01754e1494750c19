"""Feeds the preprocessing job damaged audio: every file has to come out as a sound record or as a reject with a reason.

python -m tools.fuzz_audio [--files=2000] [--good=200] [--seed=0] [--peak_mib=600] [--limit_s=600] [--work_dir=DIR]

The mutants are made from a few seconds of WAV (16 bits, floats, stereo), AU, AIFF, FLAC, MP3 (with and without its
length in it), Ogg (Vorbis, Opus, FLAC), M4A (AAC and ALAC; its index last, first or in fragments), AAC, WebM, Matroska
and WMA, and lie among good files. The whole job runs on them, its time and the memory that it may reserve limited. It
fails when the job crashes, hangs, uses more memory than --peak_mib or writes a traceback; when a file is lost, a good
one rejected, or a reject lacks its reason; when a record is not finite, or the dataset does not verify. What a run
with a fault is due to is looked for by halves, and the file named.

Prints the outcomes by format and by mutation. DIR/outcomes.csv has a line for each file, DIR/stderr.txt what the job
wrote to standard error. Exit status 1 if anything failed.
"""

import csv
import io
import json
import random
import re
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from absl import flags

from beam_preprocess import synthesize
from benchmarks import processes
from tfrecords.common import command_line
from tfrecords.common.terminal import align_columns
from tfrecords.dataset import Dataset
from tools import encode
from tools.encode import Kind, with_ogg_checksums

# A job on good files reserves 2 GiB, most of it for the stacks of threads, and uses a tenth of that.
_ADDRESS_SPACE_BYTES = 8 << 30
_ACCEPTED = "accepted"
_TRACEBACK = re.compile(r"Traceback|Exception ignored|Fatal Python error|core dumped")
# Good files that each run of the search for a fault's cause keeps: one for each label and part.
_COMPANY = 4
_MAX_CAUSES = 3

GOOD, A_FEW_BITS, END_CUT_OFF = "(good)", "a few bits flipped in the middle", "the last quarter cut off"
# Just past the shortest clip that the job takes, so that what cuts a file in half makes it too short.
_SECONDS = 3.0
# A file whose name says another format: what counts is what it holds.
_WRONG_EXTENSION_SHARE = 0.05
# Name -> kind of file, family of its header, channels, rate (Hz).
SEEDS: dict[str, tuple[Kind, str, int, int]] = {
    "wav": (encode.WAV, "wav", 1, 22050),
    "wav, stereo": (encode.WAV, "wav", 2, 44100),
    "wav, floats": (encode.WAV_FLOAT, "wav", 1, 22050),
    "au": (encode.AU, "au", 1, 22050),
    "au, floats": (encode.AU_FLOAT, "au", 1, 22050),
    "aiff": (encode.AIFF, "aiff", 1, 22050),
    "flac": (encode.FLAC, "flac", 1, 22050),
    "ogg vorbis": (encode.VORBIS, "ogg", 1, 22050),
    "ogg vorbis, stereo": (encode.VORBIS, "ogg", 2, 44100),
    "ogg opus": (encode.OPUS, "ogg", 2, 48000),
    "ogg flac": (encode.OGG_FLAC, "ogg", 1, 22050),
    "mp3": (encode.MP3, "mp3", 1, 22050),
    "mp3, tags": (encode.MP3_TAGGED, "mp3", 2, 44100),
    "mp3, no length": (encode.MP3_WITHOUT_LENGTH, "mp3", 2, 44100),
    "m4a": (encode.M4A, "mp4", 2, 44100),
    "m4a, index first": (encode.M4A_INDEX_FIRST, "mp4", 1, 22050),
    "m4a, fragments": (encode.M4A_FRAGMENTS, "mp4", 2, 44100),
    "m4a alac": (encode.M4A_ALAC, "mp4", 1, 22050),
    "aac": (encode.AAC, "aac", 2, 44100),
    "webm": (encode.WEBM, "matroska", 2, 48000),
    "mka": (encode.MATROSKA, "matroska", 2, 44100),
    "wma": (encode.WMA, "asf", 2, 44100),
}
# Marker in the file, bytes from its start, struct format. The first such marker counts; of Ogg's pages the last one,
# which tells the length.
_Place = tuple[bytes, int, str]
# The numbers in a header, by the file's family.
_FIELDS: dict[str, dict[str, _Place]] = {
    "wav": {
        "length": (b"data", 4, "<I"),
        "riff length": (b"RIFF", 4, "<I"),
        "format length": (b"fmt ", 4, "<I"),
        "encoding": (b"fmt ", 8, "<H"),
        "channels": (b"fmt ", 10, "<H"),
        "rate": (b"fmt ", 12, "<I"),
        "block align": (b"fmt ", 20, "<H"),
        "bits": (b"fmt ", 22, "<H"),
    },
    "au": {
        "data offset": (b".snd", 4, ">I"),
        "length": (b".snd", 8, ">I"),
        "encoding": (b".snd", 12, ">I"),
        "rate": (b".snd", 16, ">I"),
        "channels": (b".snd", 20, ">I"),
    },
    "aiff": {
        "channels": (b"COMM", 8, ">H"),
        "length": (b"COMM", 10, ">I"),
        "bits": (b"COMM", 14, ">H"),
        "rate": (b"COMM", 16, ">H"),
        "data length": (b"SSND", 4, ">I"),
        "data offset": (b"SSND", 8, ">I"),
        "block align": (b"SSND", 12, ">I"),
    },
    "flac": {
        "block size": (b"fLaC", 8, ">I"),
        "rate": (b"fLaC", 18, ">H"),
        "channels and bits": (b"fLaC", 20, ">B"),
        "length": (b"fLaC", 22, ">I"),
    },
    "ogg": {
        "length": (b"OggS", 6, "<Q"),
        "channels": (b"\x01vorbis", 11, "<B"),
        "rate": (b"\x01vorbis", 12, "<I"),
        "block size": (b"\x01vorbis", 28, "<B"),
        "Opus channels": (b"OpusHead", 9, "<B"),
        "Opus delay": (b"OpusHead", 10, "<H"),
        "Opus gain": (b"OpusHead", 16, "<H"),
        "Opus mapping": (b"OpusHead", 18, "<B"),
        "FLAC rate": (b"fLaC", 18, ">H"),
        "FLAC channels and bits": (b"fLaC", 20, ">B"),
        "FLAC length": (b"fLaC", 22, ">I"),
    },
    "mp3": {
        "frame header": (b"\xff", 1, ">H"),
        "length": (b"Xing", 8, ">I"),
        "data length": (b"Xing", 12, ">I"),
        "flags": (b"Xing", 4, ">I"),
        "length of CBR": (b"Info", 8, ">I"),
        "delay and padding": (b"Info", 141, ">I"),
        "tag length": (b"ID3", 6, ">I"),
    },
    "aac": {
        "frame header": (b"\xff\xf1", 2, ">H"),
        "frame length": (b"\xff\xf1", 3, ">I"),
    },
    "mp4": {
        "unit of time": (b"mdhd", 16, ">I"),
        "length": (b"mdhd", 20, ">I"),
        "length of the whole": (b"mvhd", 20, ">I"),
        "descriptions": (b"stsd", 8, ">I"),
        "channels": (b"stsd", 36, ">H"),
        "bits": (b"stsd", 38, ">H"),
        "rate": (b"stsd", 44, ">H"),
        "decoder configuration": (b"\x05\x80\x80\x80", 5, ">H"),
        "times": (b"stts", 8, ">I"),
        "packets of a time": (b"stts", 12, ">I"),
        "packet duration": (b"stts", 16, ">I"),
        "packet size": (b"stsz", 8, ">I"),
        "packets": (b"stsz", 12, ">I"),
        "first packet's size": (b"stsz", 16, ">I"),
        "chunks": (b"stco", 8, ">I"),
        "chunk offset": (b"stco", 12, ">I"),
        "packets of a chunk": (b"stsc", 16, ">I"),
        "fragment's packets": (b"trun", 8, ">I"),
        "fragment's offset": (b"trun", 12, ">I"),
        "edit length": (b"elst", 12, ">I"),
        "edit start": (b"elst", 16, ">I"),
    },
    "matroska": {
        "segment length": (b"\x18\x53\x80\x67", 5, ">I"),
        "cluster length": (b"\x1f\x43\xb6\x75", 4, ">H"),
        "unit of time": (b"\x2a\xd7\xb1", 4, ">H"),
        "length": (b"\x44\x89\x88", 3, ">Q"),
        "rate": (b"\xb5\x88", 2, ">Q"),
        "channels": (b"\x9f\x81", 2, ">B"),
        "codec": (b"A_", 2, ">I"),
        "decoder configuration": (b"\x63\xa2", 2, ">H"),
    },
    "asf": {
        "header length": (b"\x30\x26\xb2\x75", 16, "<Q"),
        "objects": (b"\x30\x26\xb2\x75", 24, "<I"),
        "packets": (b"\xa1\xdc\xab\x8c", 56, "<Q"),
        "length": (b"\xa1\xdc\xab\x8c", 64, "<Q"),
        "packet size": (b"\xa1\xdc\xab\x8c", 92, "<I"),
        "codec": (b"\x40\x9e\x69\xf8", 54, "<H"),
        "channels": (b"\x40\x9e\x69\xf8", 56, "<H"),
        "rate": (b"\x40\x9e\x69\xf8", 58, "<I"),
        "block align": (b"\x40\x9e\x69\xf8", 66, "<H"),
        "data length": (b"\x36\x26\xb2\x75", 16, "<Q"),
    },
}
# Of a page's header, bytes from its start and struct format.
_PAGE_FIELDS = ((5, "<B"), (6, "<Q"), (14, "<I"), (18, "<I"), (26, "<B"), (27, "<B"))
# As many chances as all other ways together have, nearly.
_LIE_WEIGHT = 20
# How well these are told apart is what says most about a decoder.
_GENTLE_WEIGHT = 2
_BAD_SAMPLES = (np.nan, np.inf, -np.inf, 3e38, -1e30)
# Boxes that hold boxes, and what stands before those.
_NESTED = {**dict.fromkeys((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex"), 0), b"stsd": 8}
_BOX_HEADER_BYTES = 8

FLAGS = flags.FlagValues()
flags.DEFINE_integer("files", 2000, "damaged files", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("good", 200, "good files among them", lower_bound=_COMPANY, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the mutations", flag_values=FLAGS)
flags.DEFINE_float("peak_mib", 600.0, "memory that the job may use at most (PSS)", flag_values=FLAGS)
flags.DEFINE_float("limit_s", 600.0, "seconds that the job may take", flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/fuzz_audio", "where files and outputs are kept", flag_values=FLAGS)


class Mutant(NamedTuple):
    """What was made of a file: its format, a key of SEEDS, and the mutation, or GOOD."""

    format: str
    mutation: str


class Whole(NamedTuple):
    """A file as it should be.

    Attributes:
      name: of its format.
      extension: of its name.
      family: of formats with the same header, a key of _FIELDS.
      data: its bytes.
      units: where its parts are, see `units_of`.
    """

    name: str
    extension: str
    family: str
    data: bytes
    units: tuple[slice, ...]


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Makes the files, runs the job on them, and checks what became of each; returns the exit status."""
    command_line.no_arguments(positional)
    work_dir = Path(flag_values.work_dir)
    made = make_files(work_dir / "files", mutants=flag_values.files, good=flag_values.good, seed=flag_values.seed)
    limits = {"peak_mib": flag_values.peak_mib, "limit_s": flag_values.limit_s}
    output = work_dir / "tfrecords"
    finished = run_job(list(made), work_dir / "files", output, limit_s=flag_values.limit_s)
    (work_dir / "stderr.txt").write_text(finished.stderr, "utf-8")
    problems = faults(finished, **limits)
    if problems:
        problems += _causes(made, work_dir, limits)
    if finished.status == 0:
        outcomes, wrong = outcomes_of(output, made)
        _write_outcomes(work_dir / "outcomes.csv", outcomes, made)
        print(table_of_formats(outcomes, made))
        print()
        print(table_of_mutations(outcomes, made))
        problems += wrong + _unverified(output)
    peak_mib = finished.peak_bytes / processes.MIB
    print(f"{len(made)} files in {finished.seconds:.1f} s, peak memory {peak_mib:.0f} MiB, {len(problems)} problems")
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems else 0


def run_job(names: Sequence[str], folder: Path, output: Path, *, limit_s: float) -> processes.Finished:
    """Runs the job on some of a folder's files; the output is made anew."""
    tracks = folder / "tracks.csv"
    with tracks.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "genre"])
        rows.writerows([name, f"label_{index % 2}"] for index, name in enumerate(names))
    shutil.rmtree(output, ignore_errors=True)
    return processes.run(
        *("-m", "beam_preprocess", f"--input={tracks}", f"--output={output}", "--folds=2", "--max_reject_fraction=1"),
        timeout_s=limit_s,
        watch_memory=True,
        address_space_bytes=_ADDRESS_SPACE_BYTES,
    )


def faults(finished: processes.Finished, *, peak_mib: float, limit_s: float) -> list[str]:
    """What a run must not do, whatever it was given."""
    problems = []
    if finished.timed_out:
        problems.append(f"not finished after {limit_s:g} s")
    elif finished.status:
        problems.append(f"exit status {finished.status}: {finished.stderr.strip()[-1000:]}")
    if finished.peak_bytes > peak_mib * processes.MIB:
        problems.append(f"peak memory {finished.peak_bytes / processes.MIB:.0f} MiB, at most {peak_mib:g} allowed")
    if found := _TRACEBACK.search(finished.stderr):
        problems.append(f"on standard error: {finished.stderr[found.start() :][:400]}")
    return problems


def _causes(made: Mapping[str, Mutant], work_dir: Path, limits: dict[str, float]) -> list[str]:
    """The first few files that alone, beside some good ones, give a fault; found by halves."""
    company = [name for name, mutant in made.items() if mutant.mutation == GOOD][:_COMPANY]
    waiting = [[name for name, mutant in made.items() if mutant.mutation != GOOD]]
    causes: list[str] = []
    while waiting and len(causes) < _MAX_CAUSES:
        names = waiting.pop()
        finished = run_job(company + names, work_dir / "files", work_dir / "search", limit_s=limits["limit_s"])
        found = faults(finished, **limits)
        if found and len(names) == 1:
            causes.append(f"caused by {_described(names[0], made)}: {found[0]}")
        elif found:
            waiting += [names[len(names) // 2 :], names[: len(names) // 2]]
    return causes or ["no single file gives a fault"]


def outcomes_of(output: Path, made: Mapping[str, Mutant]) -> tuple[dict[str, str], list[str]]:
    """File -> accepted, or the reason of its reject; and what is wrong with any of them."""
    dataset = Dataset(output)
    outcomes, problems = {}, []
    for part in dataset.manifest.parts:
        for record in dataset.records(part):
            outcomes[record.track_id] = _ACCEPTED
            if not np.isfinite(record.log_mel).all():
                problems.append(f"{_described(record.track_id, made)}: its record is not finite")
    for line in (output / "rejects.jsonl").read_text("utf-8").splitlines():
        reject = json.loads(line)
        name = reject["track_id"]
        if name in outcomes:
            problems.append(f"{_described(name, made)}: a record and a reject, or two rejects")
        if not reject["reason"] or not reject["detail"]:
            problems.append(f"{_described(name, made)}: a reject without reason or detail: {line}")
        outcomes[name] = reject["reason"]
    problems += [f"{_described(name, made)}: lost" for name in sorted(made.keys() - outcomes.keys())]
    rejected = [name for name, outcome in outcomes.items() if outcome != _ACCEPTED and made[name].mutation == GOOD]
    problems += [f"{_described(name, made)}: a good file, but {outcomes[name]}" for name in rejected]
    return outcomes, problems


def _described(name: str, made: Mapping[str, Mutant]) -> str:
    return f"{name} ({made[name].format}, {made[name].mutation})"


def _write_outcomes(path: Path, outcomes: Mapping[str, str], made: Mapping[str, Mutant]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "format", "mutation", "outcome"])
        rows.writerows([name, *mutant, outcomes.get(name, "lost")] for name, mutant in made.items())


def table_of_mutations(outcomes: Mapping[str, str], made: Mapping[str, Mutant]) -> str:
    """Files by mutation (rows) and outcome (columns)."""
    counts = Counter((made[name].mutation, outcome) for name, outcome in outcomes.items())
    columns = _columns(outcomes)
    mutations = sorted({mutant.mutation for mutant in made.values()})
    rows = [[mutation, *(str(counts[mutation, column]) for column in columns)] for mutation in mutations]
    return align_columns([["mutation", *columns], *rows])


def table_of_formats(outcomes: Mapping[str, str], made: Mapping[str, Mutant]) -> str:
    """Damaged files by format (rows) and outcome (columns).

    Two more columns are for what a decoder should tell apart: little damage, which it should pass over, and lost ends.
    """
    damaged = {name: outcome for name, outcome in outcomes.items() if made[name].mutation != GOOD}
    counts = Counter((made[name].format, outcome) for name, outcome in damaged.items())
    columns = _columns(damaged)
    rows = []
    for kind in dict.fromkeys(sorted(mutant.format for mutant in made.values())):
        told_apart = []
        for mutation, wanted in ((A_FEW_BITS, True), (END_CUT_OFF, False)):
            own = [outcome for name, outcome in damaged.items() if made[name] == (kind, mutation)]
            told_apart.append(f"{sum((outcome == _ACCEPTED) == wanted for outcome in own)} of {len(own)}")
        rows.append([kind, *(str(counts[kind, column]) for column in columns), *told_apart])
    return align_columns([["format", *columns, "few bits: accepted", "end lost: rejected"], *rows])


def _columns(outcomes: Mapping[str, str]) -> list[str]:
    return sorted(set(outcomes.values()), key=lambda outcome: (outcome != _ACCEPTED, outcome))


def _unverified(output: Path) -> list[str]:
    checked = processes.run("-m", "tfrecords", "verify", str(output))
    return [f"verify: {line}" for line in (checked.stdout + checked.stderr).splitlines()] if checked.status else []


def make_files(folder: Path, *, mutants: int, good: int, seed: int) -> dict[str, Mutant]:
    """Writes the files, in a folder that holds nothing else, and returns name -> what was made of it.

    Args:
      folder: emptied first.
      mutants: damaged files.
      good: files as they should be, of all formats.
      seed: decides all.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = random.Random(seed)  # noqa: S311 - damage, not secrets
    wholes = [make_whole(name) for name in SEEDS]
    made = {}
    for index in range(mutants + good):
        chosen = rng.choice(wholes)
        mutation, data, extension = GOOD, chosen.data, chosen.extension
        if index >= good:
            mutation, data = mutate(chosen, wholes, rng)
            if rng.random() < _WRONG_EXTENSION_SHARE:
                extension = rng.choice(wholes).extension
        name = f"{index:05d}.{extension}"
        (folder / name).write_bytes(data)
        made[name] = Mutant(chosen.name, f"{chosen.family} {mutation}" if mutation.startswith("lie") else mutation)
    return made


def make_whole(name: str) -> Whole:
    """The file that is damaged: a synthetic track, played at the rate, in a format of SEEDS."""
    kind, family, channels, rate = SEEDS[name]
    track = synthesize.synthesize_track("rock", seed=0, seconds=_SECONDS * rate / 22050, index=0)
    samples = np.repeat(track[:, np.newaxis], channels, axis=1)
    data = _without_accidents(encode.encode(samples, rate, kind), family)
    return Whole(name, kind.extension, family, data, tuple(units_of(data, family)))


def _without_accidents(data: bytes, family: str) -> bytes:
    """The same file without what differs from one writing to the next: a stream's number, a time of day."""
    if family == "ogg":
        return with_ogg_checksums(data, serial=0)
    peaks = data.find(b"PEAK")
    return data if peaks < 0 else data[: peaks + 12] + bytes(4) + data[peaks + 16 :]


def units_of(data: bytes, family: str) -> list[slice]:
    """Where the parts of a whole file are, in order; boxes that hold others too.

    Args:
      data: a whole file.
      family: "ogg", "mp4" or any other name.
    """
    if family == "mp4":
        return list(_boxes(data, 0, len(data)))
    if family == "ogg":
        starts = [page.start() for page in re.finditer(b"OggS", data)]
    else:
        with av.open(io.BytesIO(data), "r") as file:
            starts = sorted({packet.pos for packet in file.demux() if packet.size and packet.pos is not None})
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]


def _boxes(data: bytes, start: int, end: int) -> Iterator[slice]:
    while start + _BOX_HEADER_BYTES <= end:
        box_end = start + max(_BOX_HEADER_BYTES, int.from_bytes(data[start : start + 4], "big"))
        yield slice(start, box_end)
        before = _NESTED.get(data[start + 4 : start + 8])
        if before is not None:
            yield from _boxes(data, start + _BOX_HEADER_BYTES + before, box_end)
        start = box_end


def mutate(whole: Whole, others: Sequence[Whole], rng: random.Random) -> tuple[str, bytes]:
    """The name of a mutation, and the file's bytes after it.

    Args:
      whole: the file.
      others: that it may be joined with.
      rng: decides what is done, and where.
    """
    in_units = _IN_BOXES if whole.family == "mp4" else _IN_UNITS
    ways = [*_GENERAL, *in_units, *_JOINTS, *("lie",) * _LIE_WEIGHT, *(A_FEW_BITS, END_CUT_OFF) * _GENTLE_WEIGHT]
    name = rng.choice(ways)
    if name == "lie":
        return _lie(whole, rng)
    if name in in_units:
        part = {"ogg": "page", "mp4": "box"}.get(whole.family, "packet")
        return name.replace("part", part), in_units[name](whole, rng)
    if name in _JOINTS:
        return _JOINTS[name](whole, others, rng)
    return name, _GENERAL[name](whole.data, rng)


def _lie(whole: Whole, rng: random.Random) -> tuple[str, bytes]:
    """Another number in a field of the header; in Ogg with right checksums, or the page would not be looked at."""
    data = whole.data
    fields = {name: place for name, place in _FIELDS[whole.family].items() if place[0] in data}
    field = rng.choice(list(fields))
    marker, offset, form = fields[field]
    start = data.rfind(marker) if marker == b"OggS" else data.find(marker)
    return f"lie: {field}", _with_lie(whole, start + offset, form, rng)


def _with_lie(whole: Whole, start: int, form: str, rng: random.Random) -> bytes:
    """The file with another number at a place."""
    data, bits = whole.data, 8 * struct.calcsize(form)
    extreme = (0, 1, 2, 3, 1 << (bits - 1), (1 << (bits - 1)) - 1, (1 << bits) - 1, (1 << bits) - 2)
    value = rng.choice((*extreme, rng.getrandbits(bits), rng.getrandbits(bits // 2)))
    if start + bits // 8 <= len(data):
        data = _replaced(data, start, struct.pack(form, value))
    return with_ogg_checksums(data) if whole.family == "ogg" else data


def _replaced(data: bytes, start: int, piece: bytes) -> bytes:
    return data[:start] + piece + data[start + len(piece) :]


def _flip(data: bytes, rng: random.Random, span: slice, count: int) -> bytes:
    flipped = bytearray(data)
    for _ in range(count):
        flipped[rng.randrange(*span.indices(len(data)))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _span(data: bytes, rng: random.Random) -> slice:
    start = rng.randrange(len(data))
    return slice(start, start + rng.randint(1, len(data) // 2))


def _without_span(data: bytes, rng: random.Random) -> bytes:
    span = _span(data, rng)
    return data[: span.start] + data[span.stop :]


def _span_twice(data: bytes, rng: random.Random) -> bytes:
    span = _span(data, rng)
    return data[: span.stop] + data[span.start :]


def _bad_samples(data: bytes, rng: random.Random) -> bytes:
    """32-bit floats that are no samples, in both byte orders: in a file of floats NaN, in another one noise."""
    for _ in range(rng.randint(1, 20)):
        start = rng.randrange(64, len(data) - 4) & ~3
        data = _replaced(data, start, struct.pack(rng.choice("<>") + "f", rng.choice(_BAD_SAMPLES)))
    return data


def _without_units(whole: Whole, rng: random.Random) -> bytes:
    """One to three parts in a row are gone."""
    index = rng.randrange(len(whole.units))
    last = whole.units[min(len(whole.units) - 1, index + rng.randrange(3))]
    return whole.data[: whole.units[index].start] + whole.data[max(whole.units[index].stop, last.stop) :]


def _units_swapped(whole: Whole, rng: random.Random) -> bytes:
    first, second = sorted(rng.choices(whole.units, k=2), key=lambda unit: unit.start)
    if second.start < first.stop:
        # The same, or one inside the other.
        return _without_units(whole, rng)
    data = whole.data
    return data[: first.start] + data[second] + data[first.stop : second.start] + data[first] + data[second.stop :]


def _unit_twice(whole: Whole, rng: random.Random) -> bytes:
    unit = rng.choice(whole.units)
    return whole.data[: unit.stop] + whole.data[unit.start :]


def _unit_of_zeros(whole: Whole, rng: random.Random) -> bytes:
    unit = rng.choice(whole.units)
    return _replaced(whole.data, unit.start, bytes(unit.stop - unit.start))


def _units_header_lies(whole: Whole, rng: random.Random) -> bytes:
    """A size that lies in a box, any field in the header of an Ogg page, and the first bytes of a packet."""
    start = rng.choice(whole.units).start
    offset, form = rng.choice(_PAGE_FIELDS) if whole.family == "ogg" else (0, ">I")
    return _with_lie(whole, start + offset, form, rng)


def _unit_renamed(whole: Whole, rng: random.Random) -> bytes:
    """A box that readers pass over, with all sizes right."""
    return _replaced(whole.data, rng.choice(whole.units).start + 4, b"free")


def _joined(whole: Whole, others: Sequence[Whole], rng: random.Random) -> tuple[str, bytes]:
    other = rng.choice(others)
    return f"joined with {_kind_of(whole, other)}", whole.data + other.data


def _spliced(whole: Whole, others: Sequence[Whole], rng: random.Random) -> tuple[str, bytes]:
    other = rng.choice(others)
    data = whole.data[: rng.randrange(len(whole.data))] + other.data[rng.randrange(len(other.data)) :]
    return f"goes on as {_kind_of(whole, other)}", data


def _kind_of(whole: Whole, other: Whole) -> str:
    same = other.name == whole.name
    return "itself" if same else "its like" if other.family == whole.family else "another format"


_GENERAL: dict[str, Callable[[bytes, random.Random], bytes]] = {
    A_FEW_BITS: lambda data, rng: _flip(data, rng, slice(len(data) * 2 // 5, len(data) * 3 // 5), rng.randint(1, 4)),
    "bits flipped": lambda data, rng: _flip(data, rng, slice(None), 2 ** rng.randint(0, 7)),
    "header's bits flipped": lambda data, rng: _flip(data, rng, slice(96), 2 ** rng.randint(0, 7)),
    END_CUT_OFF: lambda data, rng: data[: round(len(data) * rng.uniform(0.7, 0.8))],
    "truncated": lambda data, rng: data[: rng.randrange(1, len(data))],
    "truncated in the header": lambda data, rng: data[: rng.randrange(1, 96)],
    "a span removed": _without_span,
    "a span twice": _span_twice,
    "samples not finite": _bad_samples,
    "zeros only": lambda data, rng: bytes(len(data)),
    "no bytes": lambda data, rng: b"",
    "text": lambda data, rng: b"This is no audio file.\n" * rng.randint(1, 500),
    "noise after the magic": lambda data, rng: data[:12] + rng.randbytes(len(data) - 12),
    "zeros in front": lambda data, rng: bytes(rng.randint(1, 5000)) + data,
    "zeros at the end": lambda data, rng: data + bytes(rng.randint(1, 5000)),
    "noise at the end": lambda data, rng: data + rng.randbytes(rng.randint(1, 5000)),
}
_IN_UNITS: dict[str, Callable[[Whole, random.Random], bytes]] = {
    "a part lost": _without_units,
    "a part swapped with another": _units_swapped,
    "a part twice": _unit_twice,
    "a part of zeros": _unit_of_zeros,
    "a part's header lies": _units_header_lies,
}
_IN_BOXES = _IN_UNITS | {"a part renamed": _unit_renamed}
_JOINTS: dict[str, Callable[[Whole, Sequence[Whole], random.Random], tuple[str, bytes]]] = {
    "joined": _joined,
    "spliced": _spliced,
}


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
