import errno
import tempfile

import pytest


@pytest.fixture(params=["full", "missing"])
def no_temporary_files(request, monkeypatch):
    """A temporary directory that takes nothing; gives what the system says of it."""

    def full(**how):
        return open("/dev/full", "r+b", **how)  # noqa: PTH123 - closed by whoever asks for it

    def missing(**how):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "TemporaryFile", full if request.param == "full" else missing)
    return "No space left on device" if request.param == "full" else "No usable temporary directory"
