"""Versions of what decides the bytes of a record."""

from importlib import metadata

import soundfile


def versions() -> dict[str, str]:
    """Versions of the libraries that decide the bytes of a record."""
    found = {name: metadata.version(name) for name in ("av", "librosa", "numpy", "scipy", "soundfile", "soxr")}
    return found | {"libsndfile": soundfile.__libsndfile_version__}
