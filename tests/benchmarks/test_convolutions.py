import pytest

from benchmarks import convolutions


@pytest.mark.slow
def test_both_ways_take_turns(run):
    head, line = run(convolutions, "--models=frequency", "--steps=2", "--rounds=1").splitlines()
    assert head.startswith("ms a step of 64 patches on ")
    name, plain, ours, ratio = (line.split()[at] for at in (0, 4, 8, -1))
    assert name == "frequency" and float(plain) > 0 and float(ours) > 0
    assert float(ratio) == pytest.approx(float(plain) / float(ours), abs=0.02 * float(ratio) + 0.01)
