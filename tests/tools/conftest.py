import pytest
import soundfile

from beam_preprocess.synthesize import synthesize_track


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


@pytest.fixture
def make_music():
    """Writes six short synthetic tracks of each of two genres to a folder, and returns it."""

    def make(folder):
        for genre in ("blues", "metal"):
            (folder / genre).mkdir(parents=True)
            for index in range(6):
                track = synthesize_track(genre, seed=0, seconds=3, index=index)
                soundfile.write(folder / genre / f"track-{chr(97 + index)}.wav", track, 22050)
        return folder

    return make
