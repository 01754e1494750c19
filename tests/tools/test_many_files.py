import pytest

from tools import many_files


@pytest.mark.parametrize(("kind", "said"), [("unusable", "100 unusable files, run 1: "), ("good", "100 good files, ")])
def test_a_run(tmp_path, capsys, kind, said):
    other = {"unusable": "good", "good": "unusable"}[kind]
    values = many_files.FLAGS
    values.unparse_flags()
    values(["tool", f"--{kind}=100", f"--{kind}_runs=1", f"--{other}_runs=0", f"--work_dir={tmp_path}"])
    assert many_files.main(values, []) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(said) and line.endswith("all came out")
    (reject,) = sorted((tmp_path / "tfrecords" / "rejects.jsonl").read_text().splitlines())[:1] or [None]
    (tmp_path / "tfrecords" / "rejects.jsonl").write_text("")
    finished = many_files.processes.Finished(0, 1.0, 1.0, False, 0, "", "")
    problems = many_files.faults(finished, tmp_path / "tfrecords", 100, good=kind == "good", peak_mib=1.0)
    assert bool(problems) == (reject is not None)
