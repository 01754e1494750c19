"""Which files may hold music: by the ending of a name, and by the first bytes of a file."""

import re

# Read, and held to it by tests: a file with such a name is listed as a track.
EXTENSIONS = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd", ".flac"),
    *(".mp3", ".mp2", ".ogg", ".oga", ".opus", ".m4a", ".m4b", ".m4r", ".mp4", ".aac", ".wma", ".ac3", ".ape", ".wv"),
    *(".mka", ".webm", ".weba", ".mkv", ".mov", ".3gp"),
)
# Music or its like too. Listed, so that none is missing without a word, and tried; what does not decode is rejected as
# unsupported_format rather than as damaged.
OTHER_MUSIC_EXTENSIONS = (
    *(".mp1", ".mpa", ".mpc", ".mp+", ".mpp", ".tta", ".tak", ".shn", ".ofr", ".spx", ".amr", ".dsf", ".dff", ".dts"),
    *(".eac3", ".ec3", ".ra", ".rm", ".ogv", ".ogx", ".m4v", ".m4p", ".aa", ".aax", ".avi", ".wmv", ".asf", ".flv"),
    *(".mpg", ".mpeg", ".ts", ".m2ts", ".vob", ".voc", ".sph", ".8svx", ".iff", ".gsm", ".vqf", ".xwma", ".adts"),
    *(".mid", ".midi", ".kar", ".rmi", ".mod", ".xm", ".s3m", ".it", ".sid", ".nsf", ".spc", ".vgm", ".stem"),
)
# Bytes of a file that `is_audio_content` looks at.
HEAD_BYTES = 64
_MAGIC = (
    rb"RIFF....WAVE|RF64....WAVE|BW64....WAVE|riff\x2e\x91\xcf\x11|FORM....AIF[FC]|caff|\.snd|dns\.|fLaC|OggS|ID3[\x02-\x04]"
    rb"|....ftyp|MAC |wvpk|\x30\x26\xb2\x75\x8e\x66\xcf\x11|TTA1|MPCK|MP\+|#!AMR|DSD |FRM8"
)
_IS_AUDIO = re.compile(_MAGIC, re.DOTALL)


def is_audio_name(path: str) -> bool:
    """Whether a file is listed as a track because of its name: it ends like music, and is not hidden."""
    name = path.rpartition("/")[2].lower()
    return name.endswith((*EXTENSIONS, *OTHER_MUSIC_EXTENSIONS)) and not name.startswith(".")


def is_audio_content(head: bytes) -> bool:
    """Whether a file's first HEAD_BYTES are those of an audio format: for files whose names do not tell."""
    return bool(_IS_AUDIO.match(head))
