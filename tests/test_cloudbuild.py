"""cloudbuild.yaml names only what exists."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def test_steps_run_files_of_the_repository_on_a_python_that_setup_supports():
    build = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
    assert build["steps"]
    for step in build["steps"]:
        assert step["name"] in ("python:3.11", "python:3.12")
        assert step["entrypoint"] == "bash"
        assert all((ROOT / argument).is_file() for argument in step["args"])
