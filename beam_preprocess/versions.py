"""Versions of what decides the bytes of a record."""

from importlib import metadata

import av
import soundfile


def versions() -> dict[str, str]:
    """Versions of the libraries that decide the bytes of a record."""
    found = {name: metadata.version(name) for name in ("av", "librosa", "numpy", "scipy", "soundfile", "soxr")}
    return found | {"ffmpeg": av.ffmpeg_version_info, "libsndfile": soundfile.__libsndfile_version__}
