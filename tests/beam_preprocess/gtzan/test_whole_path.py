"""From a server to a report: a set that looks like GTZAN goes the way of docs/tutorial-gtzan.md."""

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_preprocess.gtzan.download import fetch
from beam_preprocess.gtzan.facts import GENRES, all_clips, genre_of

# As groups of artists and songs: some more than the artists' own names, for a clip of several artists connects them.
SHARED_WITH_TRAINING, SHARED_WITH_EITHER = 17, 30
TORN_GROUPS = 13


ROOT = Path(__file__).parents[3]


def page_commands():
    """The commands of the page, in words after `python -m`."""
    text = (ROOT / "docs/tutorial-gtzan.md").read_text("utf-8")
    return [line.split()[2:] for line in text.splitlines() if line.startswith("python -m")]


def run(*command, directory, status=0):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", *map(str, command)]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def clip_of_genre(clip):
    """Two seconds of a genre's own chord, as .wav."""
    time_s = np.arange(2 * 11025) / 11025
    root = 100 * 1.3 ** GENRES.index(genre_of(clip)) * (1 + int(clip[-2:]) / 1000)
    wav = io.BytesIO()
    chord = sum(np.sin(2 * np.pi * root * factor * time_s) for factor in (1, 1.5, 2))
    soundfile.write(wav, 0.2 * chord, 11025, format="WAV")
    return wav.getvalue()


@pytest.mark.slow
def test_whole_path(server, make_archive, member_names, tmp_path):
    clips = {clip: clip_of_genre(clip) for clip in all_clips()} | {"jazz.00054": b"this is no audio"}
    server.files["/genres.tar.gz"] = archive = make_archive(member_names(clips))
    fetch(
        tmp_path / "gtzan",
        mirrors=[server.url("/none"), server.url("/genres.tar.gz")],
        archive="genres.tar.gz",
        md5=hashlib.md5(archive).hexdigest(),
        max_archive_bytes=10**9,
    )
    # The first two commands, for the download and for a copy; what they would fetch is there.
    audit, audit_of_lists, folds, lists, train, evaluate, cross_validate = page_commands()[2:]
    assert "no leak found" in run(*audit, directory=tmp_path)
    # The published lists tear artists, which is known: the audit has to say so.
    said = run(*audit_of_lists, directory=tmp_path, status=1)
    assert f"the split leaks: 0 recordings and {TORN_GROUPS} groups are in more than one part" in said
    audited = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert audited["parts"] == {"train": 443, "valid": 197, "test": 290}
    assert audited["leaks"] == {"duplicates": 0, "groups": TORN_GROUPS}
    torn = {group["group"]: group["parts"] for group in audited["torn_groups"]}
    assert torn["Burning Spear"] == {"train": 9, "valid": 1, "test": 7}
    assert sum(parts.get("test", 0) for parts in torn.values() if "train" in parts) == SHARED_WITH_TRAINING
    assert [(reject["track_id"], reject["reason"]) for reject in audited["rejects"]] == [
        ("jazz/jazz.00054.wav", "undecodable")
    ]

    assert "its column group says which tracks stay together" in run(*folds, directory=tmp_path)
    split = json.loads((tmp_path / "folds" / "manifest.json").read_text())["split"]
    assert (split["grouped"], split["group_safe"], split["groups"]) == (True, True, 276)

    data, job = tmp_path / "data", tmp_path / "job"
    assert "70 tracks are in none of the lists and are left out" in run(*lists, directory=tmp_path)
    manifest = json.loads((data / "manifest.json").read_text())
    records = {name: sum(part["tracks"].values()) for name, part in manifest["parts"].items()}
    assert records == {"train": 442, "valid": 197, "test": 290}
    assert manifest["rejects"] == {"undecodable": 1}
    (reject,) = map(json.loads, (data / "rejects.jsonl").read_text().splitlines())
    assert reject["track_id"] == "jazz/jazz.00054.wav"

    run(*train, "--epochs=2", directory=tmp_path)
    said = run(*evaluate, directory=tmp_path)
    metrics = json.loads((job / "metrics.json").read_text())
    assert metrics["tracks"] == 290
    assert [entry["new_to"] for entry in metrics["new_groups"]] == ["training", "training and validation"]
    assert [entry["tracks"] for entry in metrics["new_groups"]] == [
        290 - SHARED_WITH_TRAINING,
        290 - SHARED_WITH_EITHER,
    ]
    assert {"Anthrax", "Burning Spear", "KC and the Sunshine Band"} < set(metrics["new_groups"][0]["shared_groups"])
    assert f"{SHARED_WITH_TRAINING} of 290 test tracks share their artist with training" in said

    run(*cross_validate, "--model=frequency", "--seeds=1", "--epochs=1", directory=tmp_path)
    assert (tmp_path / "CV" / "results.md").is_file()
