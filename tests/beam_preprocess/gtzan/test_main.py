import copy
import hashlib
import subprocess
import sys

import pytest

from beam_preprocess.gtzan import __main__ as command
from tfrecords.common.command_line import UserError


def run(*arguments):
    values = copy.deepcopy(command.FLAGS)
    values.set_gnu_getopt(True)
    command.main(values, values(["gtzan", *arguments])[1:])


def test_it_fetches_and_says_what_to_do_next(server, archive_bytes, tmp_path, monkeypatch, capfd):
    server.files["/a"] = archive_bytes
    monkeypatch.setattr(command, "ARCHIVE_MD5", hashlib.md5(archive_bytes).hexdigest())
    output = tmp_path / "my gtzan"
    run(f"--output={output}", f"--mirror={server.url('/none')}", f"--mirror={server.url('/a')}")
    said = capfd.readouterr().out
    assert f"python -m beam_preprocess --input='{output}/tracks.csv' --output=DATA --name=gtzan --folds=5\n" in said
    assert "--split_lists=gtzan_filtered\n" in said
    assert [path for path, _ in server.asked] == ["/none", "/a"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--output=DIR is needed"),
        (["--output=gs://bucket/x"], "must be a local directory"),
        (["--output=x", "more"], "unexpected argument 'more'"),
        (["--output=x", "--from=y", "--mirror=http://z"], "--from and --mirror exclude each other"),
        (["--output=x", "--from="], "--from must name an archive or a folder"),
        (["--output=x", "--from=/nonexistent"], "/nonexistent: no such file or folder"),
        (["--output=x", "--mirror=genres.tar.gz"], "`mirror` must be an address"),
        (["--output=x", "--max_archive_bytes=0"], "--max_archive_bytes must be at least 1, got 0"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        run(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_one_line_and_status_2():
    done = subprocess.run([sys.executable, "-m", "beam_preprocess.gtzan"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --output=DIR is needed (see --help)\n"


def test_the_checksum_is_the_published_one():
    assert command.ARCHIVE_MD5 == "5b3d6dddb579ab49814ab86dba69e7c7"
    assert command.MIRRORS[0].startswith("https://")
