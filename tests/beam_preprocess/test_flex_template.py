"""The Flex Template's metadata: Dataflow checks parameters by it before the launcher starts."""

import json
import re
from pathlib import Path

import pytest

from beam_preprocess import __main__ as main_module
from beam_preprocess.audio.front_end import PRESETS
from beam_preprocess.config import LABEL_FOLDERS
from beam_preprocess.gtzan.facts import SPLITS
from tfrecords.schema import DTYPES

TEXT = (Path(main_module.__file__).parent / "flex_template.json").read_text("utf-8")

KEYS = {"name", "description", "parameters"}
NEEDED = {"name", "label", "helpText"}
OPTIONAL = {"isOptional", "paramType", "regexes"}
PARAM_TYPES = {"BOOLEAN", "GCS_WRITE_FOLDER"}
# What JobConfig refuses to be without.
REQUIRED = {"input", "output"}
# Parameter -> values that are right, and values that are wrong.
EXAMPLES = {
    "input": (["gs://bucket/music", "gs://bucket/music/*/*.wav", "gs://bucket/tracks.csv"], ["/music", "gs://"]),
    "output": (["gs://bucket/out"], ["out", "gs://bucket/out*"]),
    "name": (["gtzan", "my_music_2"], ["GTZAN", "2", "my music"]),
    "preset": (list(PRESETS), ["librosa2", ""]),
    "record_dtype": (list(DTYPES), ["float64"]),
    "folds": (["5", "10"], ["-1", "5.0", "five"]),
    "train_size": (["0.8", ".75"], ["8", "1.5", "-0.5"]),
    "valid_size": (["0.1"], ["1", "x"]),
    "split_lists": (["gs://bucket/lists", "gs://bucket/*_filtered.txt", *SPLITS], ["lists", "gtzan"]),
    "split_folders": (["true", "false"], ["yes", "1"]),
    "seed": (["0", "17"], ["", "a"]),
    "label_folder": (list(LABEL_FOLDERS), ["up"]),
    "merge_labels": (["true", "false"], ["yes", "1"]),
    "num_shards": (["1", "64"], ["0", "-3"]),
    "max_reject_fraction": (["0", "0.25", "1"], ["2", "1.5"]),
    "overwrite": (["true", "false"], ["yes", "1"]),
}


def problems(text):
    """All that is wrong with the metadata, in words."""
    try:
        template = json.loads(text)
    except ValueError as error:
        return [str(error)]
    found = [f"keys {sorted(template)}"] if set(template) != KEYS else []
    names = [parameter.get("name") for parameter in template.get("parameters", [])]
    found += [f"{name} is there twice" for name in set(names) if names.count(name) > 1]
    found += [f"no parameter {name}" for name in (REQUIRED | set(EXAMPLES)) - set(names)]
    for parameter in template.get("parameters", []):
        found += [f"{parameter.get('name')}: {problem}" for problem in parameter_problems(parameter)]
    return found


def parameter_problems(parameter):
    keys, name = set(parameter), parameter.get("name")
    if not NEEDED <= keys <= NEEDED | OPTIONAL:
        yield f"keys {sorted(keys)}"
        return
    if name not in main_module.FLAGS:
        yield "no such flag"
        return
    flag = main_module.FLAGS[name]
    if parameter.get("isOptional", False) is not (name not in REQUIRED):
        yield "optional in one place only"
    if (parameter.get("paramType") == "BOOLEAN") != flag.boolean:
        yield "Boolean in one place only"
    if parameter.get("paramType", "BOOLEAN") not in PARAM_TYPES:
        yield f"no paramType {parameter['paramType']}"
    if not all(isinstance(parameter[key], str) and parameter[key] for key in NEEDED):
        yield "says nothing"
    yield from regex_problems(name, parameter.get("regexes", []))


def regex_problems(name, regexes):
    right, wrong = EXAMPLES.get(name, ([], []))
    if bool(regexes) != bool(right):
        yield f"{len(regexes)} patterns for {len(right)} examples"
    try:
        accepts = [re.compile(regex).fullmatch for regex in regexes]
    except re.error as error:
        yield f"pattern: {error}"
        return
    yield from (f"refuses {value!r}" for value in right if not all(accept(value) for accept in accepts))
    yield from (f"takes {value!r}" for value in wrong if all(accept(value) for accept in accepts))


def test_every_parameter_is_a_flag_and_every_pattern_takes_what_the_flag_takes():
    assert problems(TEXT) == []


def test_the_command_line_takes_the_examples_as_the_launcher_passes_them():
    flag_values = main_module.FLAGS
    for name, (right, _) in EXAMPLES.items():
        for value in right:
            flag_values.unparse_flags()
            flag_values(["beam_preprocess", f"--{name}={value}"])
            assert flag_values[name].present
    for name in EXAMPLES:
        flag_values[name].unparse()


@pytest.mark.parametrize("parameter", [item for item in json.loads(TEXT)["parameters"] if item.get("isOptional")])
def test_help_tells_the_default_of_the_flag(parameter):
    default = main_module.FLAGS[parameter["name"]].default
    assert default in (None, False) or re.search(rf"\b{default}\b", parameter["helpText"])


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ('"name": "folds"', '"name": "fold"', "fold: no such flag"),
        ('"name": "seed"', '"name": "folds"', "folds is there twice"),
        ('"label": "Folds"', '"lable": "Folds"', "folds: keys"),
        ('"label": "Folds"', '"label": ""', "folds: says nothing"),
        ('"isOptional": true', '"isOptinal": true', "keys"),
        ('"isOptional": true', '"isOptional": "true"', "optional in one place only"),
        ('"isOptional": true,\n      "regexes": ["^(par', '"isOptional": false,\n      "regexes": ["^(par', "optional"),
        ('"paramType": "BOOLEAN"', '"paramType": "BOOL"', "no paramType BOOL"),
        ('"paramType": "BOOLEAN",\n', "", "split_folders: Boolean in one place only"),
        ('["^(parent|top)$"]', '["^(parent|top$"]', "label_folder: pattern"),
        ('["^(parent|top)$"]', '["^(parents|top)$"]', "label_folder: refuses 'parent'"),
        ('["^(parent|top)$"]', '["^[a-z]+$"]', "label_folder: takes 'up'"),
        ('"regexes": ["^gs://[^\\\\n\\\\r]+$"]', '"regexes": ["^gs//[^\\\\n\\\\r]+$"]', "input: refuses"),
        ('"regexes": ["^gs://[^\\\\n\\\\r]+$"]', '"regexes": []', "input: 0 patterns"),
        ('"description"', '"descripton"', "keys"),
        ('"parameters"', '"parameter"', "no parameter input"),
        ('"isOptional": true,', '"isOptional": true', "delimiter"),
    ],
)
def test_a_typo_is_found(right, wrong, problem):
    assert right in TEXT
    found = problems(TEXT.replace(right, wrong, 1))
    assert any(problem in line for line in found), found
