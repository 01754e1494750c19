"""cloudbuild.yaml cannot be run here; so every name in it is held against what there is."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "cloudbuild.yaml").read_text("utf-8")

BUILTIN = {"PROJECT_ID", "BUILD_ID"}
# Without a default, so that Cloud Build refuses a build that does not name it.
REQUIRED = {"_BUCKET"}
BUILD_KEYS = {"substitutions", "options", "steps", "timeout"}
STEP_KEYS = {"id", "name", "entrypoint", "args", "waitFor", "timeout"}
DOCKER = "gcr.io/cloud-builders/docker"
GCLOUD = "gcr.io/google.com/cloudsdktool/cloud-sdk:slim"
# Builder -> the programs that a step may start in it; None: the builder's own.
BUILDERS = {"python:3.12": {"bash"}, DOCKER: {None}, GCLOUD: {"gcloud", "bash"}}
MAX_TIMEOUT_S = 24 * 3600
# Command -> its flags that are in use, as `gcloud help` spells them.
COMMANDS = {
    "docker build": {"file", "tag"},
    "docker push": set(),
    "gcloud ai custom-jobs create": {"args", "display-name", "project", "region", "worker-pool-spec"},
    "gcloud dataflow flex-template build": {"image", "metadata-file", "project", "sdk-language"},
    "gcloud dataflow flex-template run": {
        "format", "parameters", "project", "region", "staging-location", "temp-location",
        "template-file-gcs-location", "worker-machine-type",
    },
    "gcloud dataflow jobs describe": {"format", "project", "region"},
    "gcloud storage ls": set(),
}  # fmt: skip
FILE_FLAGS = {"file", "metadata-file"}
# $$ is a dollar for the shell; ${NAME} and $NAME are Cloud Build's.
SUBSTITUTION = re.compile(r"\$\$|\$\{(\w+)\}|\$(\w+)")
# How a line of a script begins that calls no program to look at: a word of the shell, or a pattern of case.
SHELL = re.compile(r"\s*((if|fi|while|done|case|esac|echo|exit|sleep)\b|[A-Z_ |]+\)|\w+=\d+$)")


def used_names(text):
    return {match[1] or match[2] for match in SUBSTITUTION.finditer(text) if match[0] != "$$"}


def for_shell(text):
    """A script as the shell gets it."""
    return SUBSTITUTION.sub(lambda match: "$" if match[0] == "$$" else "value", text)


def problems(text):
    """All that is wrong with a build, in words."""
    build = yaml.safe_load(text)
    found = [f"unknown key {key}" for key in build.keys() - BUILD_KEYS]
    found += substitution_problems(build)
    before = {"-"}
    for step in build.get("steps", []):
        label = f"step {step.get('id')}"
        found += [f"{label}: unknown key {key}" for key in step.keys() - STEP_KEYS]
        found += [f"{label}: no {key}" for key in ("id", "name", "args", "waitFor") if key not in step]
        found += [f"{label}: waits for {name!r}" for name in step.get("waitFor", []) if name not in before]
        if step.get("id") in before:
            found.append(f"{label}: twice")
        before.add(step.get("id"))
        found += [f"{label}: {problem}" for problem in step_problems(step)]
    timeouts = [seconds(item.get("timeout", "600s")) for item in (build, *build.get("steps", []))]
    if None in timeouts or max(timeouts) > timeouts[0] or timeouts[0] > MAX_TIMEOUT_S:
        found.append(f"timeouts {timeouts}")
    return found


def seconds(timeout):
    match = re.fullmatch(r"(\d+)s", timeout)
    return int(match[1]) if match else None


def substitution_problems(build):
    declared = set(build.get("substitutions", {})) | REQUIRED
    used = used_names("\n".join(strings({key: build[key] for key in build.keys() & {"steps", "substitutions"}})))
    yield from (f"{name} is not declared" for name in used - declared - BUILTIN)
    yield from (f"{name} is not used" for name in declared - used)
    yield from (f"{name} must begin with _" for name in declared if not re.fullmatch(r"_[A-Z_]+", name))
    if build.get("options") != {"dynamicSubstitutions": True}:
        yield f"options {build.get('options')}"


def strings(value):
    if isinstance(value, dict):
        value = value.values()
    return [value] if isinstance(value, str) else [text for item in value for text in strings(item)]


def step_problems(step):
    builder, program, args = step.get("name"), step.get("entrypoint"), step.get("args", [])
    if builder not in BUILDERS or program not in BUILDERS[builder]:
        yield f"no builder {builder} with {program}"
    elif program == "bash" and args[0] == "-euc":
        script = for_shell(args[1])
        checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        if checked.returncode:
            yield checked.stderr
        for words in commands_of(script):
            yield from command_problems(words)
    elif program == "bash":
        yield from (f"no file {file}" for file in args if not (ROOT / file).is_file())
    else:
        yield from command_problems([program or "docker", *map(for_shell, args)])


def commands_of(script):
    """The words of each call of a program in a script, those in $( ) too."""
    for line in script.replace("\\\n", " ").splitlines():
        if not SHELL.match(line):
            yield shlex.split(re.sub(r"^\s*\w+=\$\((.*)\)( \|\| \w+=\w+)?$", r"\1", line))


def command_problems(words):
    plain = [word for word in words if not word.startswith("--")]
    command = next((known for known in COMMANDS if known.split() == plain[: len(known.split())]), None)
    if command is None:
        yield f"no command {' '.join(plain)}"
        return
    for flag, _, value in (word[2:].partition("=") for word in words if word.startswith("--")):
        if flag not in COMMANDS[command]:
            yield f"{command} has no --{flag}"
        elif not value:
            yield f"--{flag} has no value"
        elif flag in FILE_FLAGS and not (ROOT / value).is_file():
            yield f"no file {value}"
    rest = plain[len(command.split()) :]
    if len(rest) != (0 if command.endswith("create") else 1):
        yield f"{command} takes one argument, not {rest}"


def test_every_name_exists():
    assert problems(TEXT) == []


def test_substitutions_are_explained_at_the_head():
    explained = set(re.findall(r"^#   (_[A-Z_]+) ", TEXT, re.MULTILINE))
    declared = set(yaml.safe_load(TEXT)["substitutions"])
    assert explained == (declared | REQUIRED) - {"_REGION", "_REPOSITORY", "_IMAGES"}


def test_the_template_runs_with_parameters_that_it_has():
    template = yaml.safe_load((ROOT / "beam_preprocess" / "flex_template.json").read_text("utf-8"))
    known = {parameter["name"] for parameter in template["parameters"]} | {"sdk_container_image"}
    build = yaml.safe_load(TEXT)
    script = next(step["args"][1] for step in build["steps"] if step["id"] == "preprocess")
    given = re.findall(r'--parameters="([^"]+)"', script)
    given[given.index("${_PARAMETERS}")] = build["substitutions"]["_PARAMETERS"]
    names = [item.partition("=")[0] for value in given for item in value.split(",")]
    assert {"input", "output", "sdk_container_image"} < set(names) <= known


def test_training_waits_for_the_dataset():
    steps = {step["id"]: step for step in yaml.safe_load(TEXT)["steps"]}
    assert "preprocess" in steps["train"]["waitFor"]
    assert "while true" in steps["preprocess"]["args"][1]


@pytest.mark.parametrize(("last", "status"), [("JOB_STATE_DONE", 0), ("JOB_STATE_FAILED", 1)])
def test_the_job_is_asked_for_its_state_until_it_has_ended(tmp_path, last, status):
    # Nine times without an answer, twice.
    silence = "\n" * 9
    done, left = asked_for_its_state(
        tmp_path, f"the job\nJOB_STATE_RUNNING\n{silence}JOB_STATE_RUNNING\n{silence}{last}\n"
    )
    assert (done.returncode, left) == (status, "")


def test_without_an_answer_the_build_ends(tmp_path):
    done, left = asked_for_its_state(tmp_path, "the job\nJOB_STATE_RUNNING\n" + "\n" * 12)
    assert (done.returncode, left) == (1, "\n" * 2)
    assert b"error: Dataflow gave no answer ten times" in done.stderr


def asked_for_its_state(tmp_path, said):
    """What the step did, and what gcloud had yet to say; a call that says nothing fails."""
    answers = tmp_path / "answers"
    answers.write_text(said)
    gcloud = 'answer=$(head -n 1 "$ANSWERS")\nsed -i 1d "$ANSWERS"\necho "$answer"\n[ -n "$answer" ]'
    for name, script in (("gcloud", gcloud), ("sleep", "exit 0")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    step = next(step for step in yaml.safe_load(TEXT)["steps"] if step["id"] == "preprocess")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ANSWERS": str(answers)}
    script = ["bash", *map(for_shell, step["args"])]
    done = subprocess.run(script, env=environment, capture_output=True, timeout=60)
    return done, answers.read_text()


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("steps:", "step:", "unknown key step"),
        ("waitFor: [template]", "waitfor: [template]", "unknown key waitfor"),
        ("  _REGION: us-central1", "  _REGOIN: us-central1", "_REGION is not declared"),
        ("  _REGION: us-central1", "  _REGION: us-central1\n  _ZONE: a", "_ZONE is not used"),
        ("  _REGION: us-central1", "  REGION: us-central1", "REGION must begin with _"),
        ('region="${_REGION}" \\\n          --temp', 'region="${_REGOIN}" \\\n          --temp', "_REGOIN is not"),
        ("jobs/${_REGION}/$$job", "jobs/${_REGION}/$job", "job is not declared"),
        ('case "$$state"', 'case "$STATE"', "STATE is not declared"),
        ("_dir=gs://${_BUCKET}/${_JOB}", "_dir=gs://${_BUCKET}/${_JOBS}", "_JOBS is not declared"),
        ("${PROJECT_ID}", "${PROJECT}", "PROJECT is not declared"),
        ("dynamicSubstitutions", "dynamicSubstitution", "options"),
        ("name: python:3.12", "name: python:3.21", "no builder python:3.21"),
        ("cloud-builders/docker", "cloud-builder/docker", "no builder gcr.io/cloud-builder/docker"),
        ("cloud-sdk:slim\n    entrypoint: gcloud", "cloud-sdk:slim\n    entrypoint: gclod", "with gclod"),
        ("[.ci/run]", "[.ci/rum]", "no file .ci/rum"),
        ("--file=trainer/Dockerfile", "--file=trainer/Dockerfiel", "no file trainer/Dockerfiel"),
        ("flex_template.json\n    wait", "flex-template.json\n    wait", "no file beam_preprocess/flex-template.json"),
        ("[build, --file=beam", "[biuld, --file=beam", "no command docker biuld"),
        ("[build, --file=beam", "[build, --fiel=beam", "docker build has no --fiel"),
        ("--sdk-language=", "--language=", "has no --language"),
        ("--staging-location", "--staging-loaction", "has no --staging-loaction"),
        ("--format=", "--fromat=", "has no --fromat"),
        ("--worker-pool-spec=", "--worker-pool-specs=", "has no --worker-pool-specs"),
        ("$$(gcloud dataflow flex-template run", "$$(gcloud dataflow flex-templates run", "no command gcloud"),
        ("gcloud ai custom-jobs create", "gcloud ai custom-job create", "no command gcloud ai custom-job create"),
        ("gcloud storage ls", "gclod storage ls", "no command gclod"),
        ("gcloud storage ls", "storage ls", "no command storage"),
        ("waitFor: [template]", "waitFor: [templates]", "waits for 'templates'"),
        ("id: push-trainer", "id: push-worker", "twice"),
        ("id: check", "name: check", None),
        ("esac", "easc", "syntax error"),
        ('          echo "no _JOB', '          fi echo "no _JOB', "syntax error"),
        ("timeout: 32400s", "timeout: 3240s", "timeouts"),
        ("timeout: 3600s", "timeout: 1h", "timeouts"),
    ],
)  # fmt: skip
def test_a_typo_is_found(right, wrong, problem):
    assert right in TEXT
    found = problems(TEXT.replace(right, wrong, 1))
    assert found
    assert problem is None or any(problem in line for line in found), found
