"""Where the pictures of files go: one file for one, a folder for more."""

import tempfile
from pathlib import Path

from tfrecords import files
from tfrecords.command_line import UserError
from trainer import job_files


class Pictures:
    """Names for pictures: the name itself if it ends with .png, else NAME/<file's name>.png.

    Two files of one name get different pictures, the second one's ending with -2. A name too long for a file is
    shortened.

    Args:
      name: of the file or folder.
      count: pictures that there will be at most.

    Raises:
      UserError: the folder cannot be made or written to, or one file is named for many pictures.
    """

    def __init__(self, name: str, count: int) -> None:
        self._path = Path(name)
        self._one = self._path.suffix.lower() == ".png" and not self._path.is_dir()
        self._taken: set[str] = set()
        if self._one and count > 1:
            raise UserError(f"--png={name} is one picture, and there are {count} files; name a folder")
        folder = self._path.parent if self._one else self._path
        job_files.make_dir(folder, "png")
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(f"--png={name}: {folder} cannot be written to: {error.strerror}") from None

    def write(self, source: str, data: bytes) -> Path:
        """Writes the picture of a file, and returns where it is.

        Raises:
          UserError: it cannot be written.
        """
        path = self._path if self._one else self._path / self._free_name(Path(source).stem)
        with files.whole_file(path) as temporary:
            temporary.write_bytes(data)
        return path

    def _free_name(self, stem: str) -> str:
        ending, number = ".png", 1
        # Some systems take names for equal that differ in upper and lower case only.
        while (name := _with_ending(stem, ending)).lower() in self._taken:
            number += 1
            ending = f"-{number}.png"
        self._taken.add(name.lower())
        return name


def _with_ending(stem: str, ending: str) -> str:
    return files.shortened(stem, files.MAX_NAME_BYTES - len(ending)) + ending
