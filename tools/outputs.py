"""What a job wrote, compared with what another one wrote; and the input that such checks give to jobs."""

import hashlib
import subprocess
from pathlib import Path

from beam_preprocess import synthesize
from benchmarks import clips as clip_files
from benchmarks import processes
from tfrecords.manifest import PARTIAL_DIR

_RUN_LIMIT_S = 1800
# How the run went, not what it made.
_METRICS_FILE = "metrics.json"
_BAD_CLIPS = {"empty.wav": b"", "text.wav": b"no audio\n", "cut.wav": b"RIFF\xff\xff\x00\x00WAVEfmt "}


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
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if path.name != _METRICS_FILE
    }


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """A line per file that is missing, one too many, or has other bytes."""
    lines = [f"{name}: missing" for name in sorted(expected.keys() - found.keys())]
    lines += [f"{name}: the other run has no such file" for name in sorted(found.keys() - expected.keys())]
    both = sorted(found.keys() & expected.keys())
    return lines + [f"{name}: its bytes differ" for name in both if found[name] != expected[name]]
