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
import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import processes
from tfrecords import command_line, records
from tfrecords.info import aligned
from tfrecords.manifest import Manifest
from tools.audio_mutants import GOOD, Mutant, make_files
from tools.audio_mutations import A_FEW_BITS, END_CUT_OFF

# A job on good files reserves 2 GiB, most of it for the stacks of threads, and uses a tenth of that.
_ADDRESS_SPACE_BYTES = 8 << 30
_ACCEPTED = "accepted"
_TRACEBACK = re.compile(r"Traceback|Exception ignored|Fatal Python error|core dumped")
# Good files that each run of the search for a fault's cause keeps: one for each label and part.
_COMPANY = 4
_MAX_CAUSES = 3

FLAGS = flags.FlagValues()
flags.DEFINE_integer("files", 2000, "damaged files", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("good", 200, "good files among them", lower_bound=_COMPANY, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the mutations", flag_values=FLAGS)
flags.DEFINE_float("peak_mib", 600.0, "memory that the job may use at most (PSS)", flag_values=FLAGS)
flags.DEFINE_float("limit_s", 600.0, "seconds that the job may take", flag_values=FLAGS)
flags.DEFINE_string("work_dir", "build/fuzz_audio", "where files and outputs are kept", flag_values=FLAGS)


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
    manifest = Manifest.load(output)
    outcomes, problems = {}, []
    for part in manifest.parts:
        for record in records.iterate(manifest, output, part):
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
    return aligned([["mutation", *columns], *rows])


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
    return aligned([["format", *columns, "few bits: accepted", "end lost: rejected"], *rows])


def _columns(outcomes: Mapping[str, str]) -> list[str]:
    return sorted(set(outcomes.values()), key=lambda outcome: (outcome != _ACCEPTED, outcome))


def _unverified(output: Path) -> list[str]:
    checked = processes.run("-m", "tfrecords", "verify", str(output))
    return [f"verify: {line}" for line in (checked.stdout + checked.stderr).splitlines()] if checked.status else []


if __name__ == "__main__":
    command_line.run(main, FLAGS, usage=__doc__)
