"""What more tracks cost the launcher: seconds and memory to list, deal, plan and write the plan, without any audio.

python -m benchmarks.planning [--tracks=100000,1000000] [--work_dir=DIR]

The tracks are lines of a CSV (path, genre, artist) that name files which are not there: at most one artist for ten
tracks, as unequal as in a collection (the k-th has one k-th of the tracks of the first), and one track in ten of any
genre, the others of their artist's. Each size has a process of its own. "plan" is all that the launcher decides,
"split" the part of it that deals artists into folds, "ratio" the total against that of the line before, "peak" the
most memory at once, "on top" what of it is not the imports.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks import processes
from tfrecords.common import command_line

GENRES = 20
TRACKS_PER_ARTIST = 10
LEAST = GENRES * TRACKS_PER_ARTIST
_OTHER_GENRE = 0.1
_HEADER = ("tracks", "shards", "list", "plan", "(split)", "write", "total", "ratio", "peak", "on top", "plan.jsonl")

FLAGS = flags.FlagValues()
flags.DEFINE_list("tracks", ["100000", "1000000"], "how many tracks, one number after another", flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/benchmark", "where lists and plans are kept", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> None:
    """Plans jobs of each size, and prints a line for each."""
    command_line.no_arguments(positional)
    numbers = [int(number) if number.isdecimal() else 0 for number in flag_values.tracks]
    if min(numbers, default=0) < LEAST:
        raise command_line.UserError(f"--tracks must be numbers of at least {LEAST}, got {flag_values.tracks}")
    print("".join(f"{name:>11}" for name in _HEADER), flush=True)
    before_s = None
    for number in numbers:
        found = measured(Path(flag_values.work_dir), number)
        total_s = found["list_s"] + found["plan_s"] + found["write_s"]
        seconds = [f"{found[name]:.1f} s" for name in ("list_s", "plan_s", "split_s", "write_s")]
        ratio = f"x {total_s / before_s:.1f}" if before_s else ""
        sizes = [f"{found[name] / processes.MIB:.0f} MiB" for name in ("peak_bytes", "own_bytes", "plan_bytes")]
        cells = [f"{number:,}", str(found["shards"]), *seconds, f"{total_s:.1f} s", ratio, *sizes]
        print("".join(f"{cell:>11}" for cell in cells), flush=True)
        before_s = total_s


def measured(work_dir: Path, tracks: int) -> dict[str, Any]:
    """What `measure` finds in a process of its own, of so many tracks; the plan stays in work_dir/planned_<tracks>."""
    source = write_csv(work_dir / f"tracks_{tracks}.csv", tracks)
    program = f"from benchmarks import planning; planning.measure({str(source)!r}, {str(plan_dir(work_dir, tracks))!r})"
    return json.loads(processes.run_checked("-W", "ignore", "-c", program).stdout)


def plan_dir(work_dir: Path, tracks: int) -> Path:
    """Where `measured` leaves an unfinished job."""
    return work_dir / f"planned_{tracks}"


def write_csv(path: Path, tracks: int) -> Path:
    """A list of tracks that are not there; always the same for a number."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise command_line.UserError(f"--work_dir={path.parent} cannot be made: {error.strerror}") from None
    rng = np.random.default_rng(tracks)
    # Uniform in the logarithm: the k-th artist comes one k-th as often as the first.
    artists = np.floor((tracks // TRACKS_PER_ARTIST) ** rng.random(tracks)).astype(int)
    own_genre = rng.random(tracks) > _OTHER_GENRE
    genres = np.where(own_genre, artists, rng.integers(GENRES, size=tracks)) % GENRES
    with path.open("w", encoding="utf-8") as file:
        file.write("path,genre,artist\n")
        for number, (artist, genre) in enumerate(zip(artists, genres, strict=True)):
            name = f"music/genre {genre:02d}/artist {artist:07d}/album {number % 7}/{number:08d}.flac"
            file.write(f"{name},genre {genre:02d},artist {artist:07d}\n")
    return path


def measure(source: str, output: str) -> None:
    """Plans a job as the launcher does, up to where the pipeline would start; prints what it took as JSON."""
    from beam_preprocess import splits
    from beam_preprocess.config import JobConfig
    from beam_preprocess.inputs.tracks import list_tracks
    from beam_preprocess.job import claim_output
    from beam_preprocess.pipeline import PLAN_FILE
    from beam_preprocess.plan import plan_job
    from beam_preprocess.storage import partial_dir

    config = JobConfig(source, output, "music")
    imports_bytes = peak_bytes()
    began = time.perf_counter()
    tracks = list_tracks(source)
    listed = time.perf_counter()
    plan = plan_job(config, tracks)
    planned = time.perf_counter()
    claim_output(output, plan, overwrite=True)
    written = time.perf_counter()
    found = {
        "list_s": listed - began,
        "plan_s": planned - listed,
        "write_s": written - planned,
        "peak_bytes": peak_bytes(),
        "own_bytes": peak_bytes() - imports_bytes,
        "plan_bytes": Path(partial_dir(output), PLAN_FILE).stat().st_size,
        "shards": len(plan.shards),
    }
    # The greatest step of planning, once more and alone.
    again = time.perf_counter()
    splits.assign(tracks, splits.fold_weights(len(plan.parts)), seed=config.split.seed)
    found["split_s"] = time.perf_counter() - again
    print(json.dumps(found))


def peak_bytes() -> int:
    """The most memory that this process has held at once; unlike getrusage's, not that of the one that started it."""
    status = Path("/proc/self/status").read_text("utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
