"""The Makefile's targets give the commands that they should, without running them."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


def dry_run(*words):
    done = subprocess.run(["make", "--dry-run", "--always-make", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.replace("\\\n", "")


def test_demo_without_audio_synthesises_it():
    commands = dry_run("demo")
    assert "beam_preprocess.synthesize --output=demo/synthetic/audio" in commands
    assert "--input='demo/synthetic/audio'" in commands
    assert "--job_dir=demo/synthetic/black_box" in commands


def test_what_to_try_next_is_on_the_same_data():
    hints = [line for line in dry_run("demo", "AUDIO=music", "FOLDS=10").splitlines() if "make demo MODEL=" in line]
    assert len(hints) == 3 and all("AUDIO='music' FOLDS=10" in hint for hint in hints)
    assert "FOLDS" not in dry_run("demo", "AUDIO=music")


def test_the_pretrained_model_has_its_weights_and_data_of_its_own():
    commands = dry_run("demo", "MODEL=musicnn")
    assert commands.index("--no-deps musicnn==0.1.0") < commands.index("-m beam_preprocess --input")
    assert "--output=demo/synthetic/tfrecords_musicnn --folds=5 --preset=musicnn" in commands
    assert "--data_dir=demo/synthetic/tfrecords_musicnn" in commands and "--model=musicnn --recipe=probe" in commands
    assert "pip install --quiet --disable-pip-version-check --no-deps" not in dry_run("demo")
    assert "--preset" not in dry_run("demo")


def test_demo_of_a_list_passes_its_columns_and_keeps_apart_from_other_demos():
    commands = dry_run("demo", "AUDIO=../my music/tracks.csv", "LABEL=style", "GROUP=band")
    assert "synthesize" not in commands
    assert "--input='../my music/tracks.csv'" in commands
    assert "--label_column='style' --group_column='band'" in commands
    assert "--output=demo/my_music_tracks_csv/tfrecords" in commands


def test_a_cross_validation_reads_the_demos_data():
    words = ["AUDIO=../tracks.csv", "LABEL=genre", "GROUP=artist", "RECIPE=cbmi2016", "SEEDS=3", "EPOCHS=60"]
    commands = dry_run("cross-validation", *words)
    assert commands.index("-m beam_preprocess --input='../tracks.csv'") < commands.index("-m trainer.cross_validate")
    expected = "--job_dir=demo/tracks_csv/cross_validation_cbmi2016 --model=all --seeds=3 --recipe=cbmi2016 --epochs=60"
    assert f"--data_dir=demo/tracks_csv/tfrecords {expected}" in " ".join(commands.split())
    assert "--epochs" not in dry_run("cross-validation")


def test_a_comparison_leaves_out_the_tracks_that_choices_were_made_on():
    words = ["AUDIO=../tracks.csv", "GROUP=artist", "SEEDS=3", "LEAVE_OUT=benchmarks/emotify_development.txt"]
    commands = " ".join(dry_run("comparison", *words).split())
    job_dirs = [f"demo/tracks_csv/cross_validation_{recipe}" for recipe in ("modern", "augmented")]
    for job_dir, names in zip(job_dirs, ("all", "cnn,black_box"), strict=True):
        recipe = job_dir.rpartition("_")[2]
        assert f"--job_dir={job_dir} --model={names} --seeds=3 --recipe={recipe} " in commands
    assert f"-m trainer.compare --job_dirs={','.join(job_dirs)} --output_dir=demo/tracks_csv/comparison" in commands
    assert "--leave_out='benchmarks/emotify_development.txt'" in commands
    assert "--leave_out" not in dry_run("comparison")


def test_a_comparison_is_against_the_usual_models_where_they_are_trained():
    def against(*words):
        return [words.split("'")[1] for words in dry_run("comparison", *words).split("--against=")[1:]]

    assert against() == ["black_box, modern", "cnn, modern", "cnn, augmented"]
    assert against("MODELS=time,cnn", "AUGMENTED=black_box") == ["cnn, modern"]
    assert against("MODELS=time", "AUGMENTED=cnn,black_box") == ["cnn, augmented"]
    assert dry_run("comparison", "EPOCHS=2").count("--epochs=2") == 2


def test_the_documentation_is_built_from_nothing():
    commands = dry_run("docs")
    assert commands.index("rm -rf build/docs build/site") < commands.index("mkdocs build --strict")


def test_test_installs_the_test_tools_first():
    commands = dry_run("test")
    assert commands.index("-m venv") < commands.index("[test]") < commands.index("-m pytest")


def test_a_machine_without_python_gets_one_clear_line():
    words = ["make", "demo", "VENV=/nonexistent/venv", "PYTHON="]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no Python 3.11, 3.12 or 3.13" in done.stderr
