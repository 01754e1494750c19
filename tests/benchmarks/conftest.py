import pytest


@pytest.fixture
def run(capsys):
    """Runs a benchmark in this process; gives what it printed."""

    def run(benchmark, *arguments):
        values = benchmark.FLAGS
        for name in values:
            values[name].unparse()
        positional = values(["benchmark", *map(str, arguments)])[1:]
        assert not benchmark.main(values, positional)
        return capsys.readouterr().out

    return run
