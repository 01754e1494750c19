import pytest


@pytest.fixture
def run(capsys):
    """Runs a tool in this process; gives its exit status and what it printed."""

    def run(tool, *arguments):
        values = tool.FLAGS
        for name in values:
            values[name].unparse()
        positional = values(["tool", *map(str, arguments)])[1:]
        return tool.main(values, positional), capsys.readouterr().out

    return run
