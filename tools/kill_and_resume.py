"""Kills the preprocessing job at random moments and starts it again: nothing may be lost, done twice or different.

python -m tools.kill_and_resume [--kills=20] [--clips=400] [--seconds=30] [--num_shards=40] [--seed=0] [--work_dir=DIR]

One job runs unbroken. Then, once for each kill, a job in a directory of its own is killed (SIGKILL, its whole process
group) as soon as a random number of its shards is finished. The directory must hold no manifest, unless the dataset
is complete. The same command must then give every file of the unbroken run, byte for byte, and must leave alone each
shard that was finished before the kill. Among the clips are some that cannot be used, so that rejects.jsonl counts.

Exit status 1 if anything differs.
"""

import random
import shutil
import subprocess
import time
from pathlib import Path

from absl import flags

from benchmarks import processes
from tfrecords import command_line
from tfrecords.manifest import FILE_NAME, PARTIAL_DIR
from tools import outputs

# Every other kill comes up to so much later: in the middle of a shard, or at the end, where the manifest is written.
_MAX_DELAY_S = 0.15
_RUN_LIMIT_S = 1800

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
    source = outputs.make_source(work_dir, clips=flag_values.clips, seconds=flag_values.seconds)
    whole = outputs.job(source, work_dir / "unbroken", flag_values.num_shards)
    shutil.rmtree(work_dir / "unbroken", ignore_errors=True)
    processes.run_checked(*whole)
    expected = outputs.digests(work_dir / "unbroken")
    shards = sum(".tfrecord-" in name for name in expected)
    print(f"{flag_values.clips} clips, {shards} shards, {flag_values.kills} kills", flush=True)
    rng = random.Random(flag_values.seed)  # noqa: S311 - moments, not secrets
    failed = 0
    for number in range(1, flag_values.kills + 1):
        output = work_dir / f"killed_{number}"
        at, delay_s = rng.randint(0, shards), rng.uniform(0, _MAX_DELAY_S) * (number % 2)
        command = outputs.job(source, output, flag_values.num_shards)
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
        outputs.wait_for_shards(output, at, process)
        time.sleep(delay_s)
    kept = finished_shards(output)
    problems = [f"{name}: its result is there, but not the shard" for name, stamp in kept.items() if stamp is None]
    state = "no manifest"
    if (output / FILE_NAME).exists():
        state = "complete"
        problems += [f"with a manifest: {text}" for text in outputs.differences(outputs.digests(output), expected)]
    again = processes.run(*command, timeout_s=_RUN_LIMIT_S)
    if again.status:
        problems.append(f"the job's status was {again.status}: {again.stderr.strip()[-2000:]}")
    problems += outputs.differences(outputs.digests(output), expected)
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
    names = [sidecar.name.removesuffix(".json") for sidecar in outputs.sidecars(output)]
    return {name: _stamp(output / name) for name in names}


def _stamp(path: Path) -> tuple[int, int] | None:
    """Time of the last change, and the inode, which tells a file from another one under its name."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_ino


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
