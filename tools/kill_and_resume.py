"""Kills the preprocessing job at random moments and starts it again: nothing may be lost, done twice or different.

python -m tools.kill_and_resume [--kills=20] [--clips=400] [--seconds=30] [--num_shards=40] [--seed=0] [--work_dir=DIR]

One job runs unbroken. Then, once for each kill, a job in a directory of its own is killed (SIGKILL, its whole process
group) as soon as a random number of its shards is finished. The directory must hold no manifest, unless the dataset
is complete. The same command must then give every file of the unbroken run, byte for byte, and must leave alone each
shard that was finished before the kill. Among the clips are some that cannot be used, so that rejects.jsonl counts.

Exit status 1 if anything differs.
"""

import hashlib
import random
import shutil
import subprocess
import time
from pathlib import Path

from absl import flags

from beam_preprocess import synthesize
from beam_preprocess.finish import METRICS_FILE
from benchmarks import clips as clip_files
from benchmarks import processes
from tfrecords.common import command_line
from tfrecords.manifest import FILE_NAME, PARTIAL_DIR

# Every other kill comes up to so much later: in the middle of a shard, or at the end, where the manifest is written.
_MAX_DELAY_S = 0.15
_RUN_LIMIT_S = 1800
_BAD_CLIPS = {"empty.wav": b"", "text.wav": b"no audio\n", "cut.wav": b"RIFF\xff\xff\x00\x00WAVEfmt "}

FLAGS = flags.FlagValues()
flags.DEFINE_integer("clips", 400, "clips to preprocess, a multiple of 10", lower_bound=20, flag_values=FLAGS)
flags.DEFINE_float("seconds", 30.0, "length of a clip", lower_bound=3.0, flag_values=FLAGS)
flags.DEFINE_integer("kills", 20, "how many jobs are killed", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("num_shards", 40, "shards of the dataset", lower_bound=2, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the moments", flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/kill_and_resume", "where clips and outputs are kept", flag_values=FLAGS)


def main(flag_values: flags.FlagValues, positional: list[str]) -> int:
    """Runs the job unbroken, then each killed one; returns the exit status."""
    command_line.no_arguments(positional)
    work_dir = Path(flag_values.work_dir)
    source = make_source(work_dir, clips=flag_values.clips, seconds=flag_values.seconds)
    whole = job(source, work_dir / "unbroken", flag_values.num_shards)
    shutil.rmtree(work_dir / "unbroken", ignore_errors=True)
    processes.run_checked(*whole)
    expected = digests(work_dir / "unbroken")
    shards = sum(".tfrecord-" in name for name in expected)
    print(f"{flag_values.clips} clips, {shards} shards, {flag_values.kills} kills", flush=True)
    rng = random.Random(flag_values.seed)  # noqa: S311 - moments, not secrets
    failed = 0
    for number in range(1, flag_values.kills + 1):
        output = work_dir / f"killed_{number}"
        at, delay_s = rng.randint(0, shards), rng.uniform(0, _MAX_DELAY_S) * (number % 2)
        command = job(source, output, flag_values.num_shards)
        if kill_once(command, output, at=at, delay_s=delay_s, expected=expected):
            failed += 1
        else:
            shutil.rmtree(output)
    print(f"{flag_values.kills - failed} of {flag_values.kills} killed jobs gave what the unbroken one gave")
    return 1 if failed else 0


def kill_once(
    command: list[str], output: Path, *, at: int, delay_s: float = 0.0, expected: dict[str, str]
) -> list[str]:
    """Kills one job, runs it again, prints a line of how it went, and returns what was wrong.

    Args:
      command: the job.
      output: its directory, not there yet or to be removed.
      at: killed once so many shards are finished; 0: once the job has claimed its output.
      delay_s: and so much later.
      expected: what the unbroken run wrote.
    """
    shutil.rmtree(output, ignore_errors=True)
    with processes.started(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for_shards(output, at, process)
        time.sleep(delay_s)
    kept = finished_shards(output)
    problems = [f"{name}: its result is there, but not the shard" for name, stamp in kept.items() if stamp is None]
    state = "no manifest"
    if (output / FILE_NAME).exists():
        state = "complete"
        problems += [f"with a manifest: {text}" for text in differences(digests(output), expected)]
    again = processes.run(*command, timeout_s=_RUN_LIMIT_S)
    if again.status:
        problems.append(f"the job's status was {again.status}: {again.stderr.strip()[-2000:]}")
    problems += differences(digests(output), expected)
    problems += [f"{name}: written again" for name, stamp in kept.items() if stamp and _stamp(output / name) != stamp]
    if (output / PARTIAL_DIR).exists():
        problems.append(f"{PARTIAL_DIR}: left behind")
    outcome = f"{len(problems)} problems" if problems else "identical"
    print(f"{output.name}: killed at {at}, {len(kept)} shards finished, {state}; again: {outcome}", flush=True)
    for problem in problems:
        print(f"  {problem}", flush=True)
    return problems


def finished_shards(output: Path) -> dict[str, tuple[int, int] | None]:
    """Names of the shards that an unfinished job has finished -> what tells whether they were written since."""
    names = [sidecar.name.removesuffix(".json") for sidecar in sidecars(output)]
    return {name: _stamp(_shard(output, name)) for name in names}


def _shard(output: Path, name: str) -> Path:
    """Where a shard's file is: in its place, or until then, named by its content, among the unfinished job's."""
    attempts = [path for path in (output / PARTIAL_DIR).glob(f"{name}.*") if path.suffix not in (".json", ".tmp")]
    return next((path for path in attempts if not (output / name).exists()), output / name)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Time of the last change, and the inode, which tells a file from another one under its name."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_ino


def make_source(work_dir: Path, *, clips: int, seconds: float) -> Path:
    """A folder of clips and a few files that are none."""
    source = clip_files.make_clips(work_dir, clips=clips, seconds=seconds)
    for name, content in _BAD_CLIPS.items():
        (source / min(synthesize.GENRES) / name).write_bytes(content)
    return source


def job(source: Path, output: Path, num_shards: int) -> list[str]:
    """The job's command line; the limit on rejects is far off, however few the clips."""
    limits = [f"--num_shards={num_shards}", "--folds=2", "--max_reject_fraction=0.5"]
    return ["-m", "beam_preprocess", f"--input={source}", f"--output={output}", *limits]


def sidecars(output: Path) -> list[Path]:
    """The results of the shards that an unfinished job has finished."""
    return list((output / PARTIAL_DIR).glob("*.tfrecord-*.json"))


def wait_for_shards(output: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Until the job has claimed its output and finished so many shards, or has ended."""
    claimed = output / PARTIAL_DIR
    processes.wait_until(process, lambda: claimed.is_dir() and len(sidecars(output)) >= count, limit_s=_RUN_LIMIT_S)


def digests(output: Path) -> dict[str, str]:
    """Name -> SHA-256 of all files of a dataset; nothing of what an unfinished job keeps."""
    files = [path for path in output.rglob("*") if path.is_file() and PARTIAL_DIR not in path.parts]
    # The metrics are of how the run went, not of what it made.
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if path.name != METRICS_FILE
    }


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """A line per file that is missing, one too many, or has other bytes."""
    lines = [f"{name}: missing" for name in sorted(expected.keys() - found.keys())]
    lines += [f"{name}: the other run has no such file" for name in sorted(found.keys() - expected.keys())]
    both = sorted(found.keys() & expected.keys())
    return lines + [f"{name}: its bytes differ" for name in both if found[name] != expected[name]]


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
