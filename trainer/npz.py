"""What reading a damaged .npz may raise: it is a zip file, whose every byte may be another."""

import zipfile
import zlib

# Of RuntimeError: a bit that says encrypted, and as NotImplementedError one that names another compression. The
# arrays found may have other names, types, shapes and values than those saved.
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
