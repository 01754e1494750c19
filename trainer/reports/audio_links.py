"""Links from the pages to the audio of a dataset's tracks."""

import json
import os
from pathlib import Path

from tfrecords.common.files import read_text
from trainer.settings import SettingError

# Written by preprocessing; it names the input, which the manifest does not, as that is the same wherever the input lay.
_METRICS_FILE = "metrics.json"


class AudioLinks:
    """Links to audio files by track id: the file's path below the input.

    Attributes:
      folder: the folder of the input; None where it is not known.

    Raises:
      SettingError: audio_dir is no folder.
    """

    def __init__(self, data_dir: str | Path, audio_dir: str | Path | None = None) -> None:
        if audio_dir is not None and not Path(audio_dir).is_dir():
            raise SettingError(f"audio_dir={audio_dir}: no such folder; name the input that the dataset was made from")
        self.folder = Path(audio_dir) if audio_dir is not None else _input_folder(Path(data_dir))

    def __call__(self, track_id: str) -> str | None:
        """Return the file: URI of a track's audio, percent-encoded; None where there is no such file."""
        if self.folder is None:
            return None
        path = (self.folder / track_id).absolute()
        return path.as_uri() if os.path.isfile(path) else None  # noqa: PTH113 - False where it may not even be asked


def _input_folder(data_dir: Path) -> Path | None:
    """The folder that preprocessing read, by its own record: the input, or the folder of the CSV that listed it.

    A relative path is taken from the working directory, which may be another by now: a track is linked only where
    there is a file of its name.
    """
    try:
        source = json.loads(read_text(data_dir / _METRICS_FILE))["input"]
        folder = Path(source).parent if source.lower().endswith(".csv") else Path(source)
        return folder if folder.is_dir() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
