from benchmarks import planning


def test_a_line_for_each_size(tmp_path, run):
    header, small, large = run(planning, f"--work_dir={tmp_path}", "--tracks=200,2000").splitlines()
    assert header.split() == " ".join(planning._HEADER).split()
    assert (small.split()[0], large.split()[0]) == ("200", "2,000")
    assert int(large.split()[1]) > 5 * int(small.split()[1]) > 0
    assert " x " in large
    assert " x " not in small
