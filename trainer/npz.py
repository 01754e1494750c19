"""Arrays in one .npz file: written whole or not at all, and what reading a damaged one may raise."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfrecords.common.files import atomic_write

# An .npz is a zip file, and any of its bytes may be damaged. RuntimeError: a bit says that it is encrypted;
# NotImplementedError, a RuntimeError too: an unknown compression. The arrays may have other names, types, shapes and
# values than those saved.
DAMAGED = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def save(path: Path, arrays: Mapping[str, np.ndarray], *, compressed: bool = True) -> None:
    """Writes arrays under their names; compressing takes its time where that is often done.

    Raises:
      UserError: they cannot be written.
    """
    write = np.savez_compressed if compressed else np.savez
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        write(file, allow_pickle=False, **arrays)
