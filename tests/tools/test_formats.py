import numpy as np
import soundfile

from tools import formats


def test_a_row_for_each_file(tmp_path, run):
    soundfile.write(tmp_path / "tone.flac", 0.3 * np.sin(np.arange(22050) / 9), 22050)
    (tmp_path / "text.mp3").write_text("no audio\n" * 100)
    status, printed = run(formats, tmp_path)
    header, text, tone, *_, last = printed.splitlines()
    assert status == 0
    assert header.split()[0] == "file"
    assert text.split()[0] == "text.mp3" and "undecodable: " in text
    assert tone.split()[0] == "tone.flac" and tone.endswith("ok") and " 1.000 " in tone
    assert last.startswith("2 files, 1 rejected; 0 ")
