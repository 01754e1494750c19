"""Which files may hold music: by the ending of a name, and by the first bytes of a file."""

import re
from typing import NamedTuple

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
    *(".mid", ".midi", ".kar", ".rmi", ".mod", ".xm", ".s3m", ".it", ".sid", ".nsf", ".spc", ".vgm"),
)
HEAD_BYTES = 64


class Container(NamedTuple):
    """A family of files.

    Attributes:
      name: of the family.
      sndfile_first: whether libsndfile is asked before FFmpeg: of what is PCM inside, and of Vorbis, whose last samples
        FFmpeg does not always cut off where the stream says that it ends.
      demuxers: FFmpeg's, with commas, that may read such a file; no other is tried, whatever it holds.
    """

    name: str
    sndfile_first: bool
    demuxers: str


_CONTAINERS = (
    (rb"RIFF....WAVE|RF64....WAVE|BW64....WAVE", Container("wav", True, "wav")),
    (rb"riff\x2e\x91\xcf\x11", Container("w64", True, "w64")),
    (rb"FORM....AIF[FC]", Container("aiff", True, "aiff")),
    (rb"caff", Container("caf", True, "caf")),
    (rb"\.snd|dns\.", Container("au", True, "au")),
    (rb"fLaC", Container("flac", True, "flac")),
    (rb"OggS.{24}\x01vorbis", Container("ogg", True, "ogg")),
    (rb"OggS", Container("ogg", False, "ogg")),
    (rb"....(?:ftyp|moov|mdat|wide|free|skip)", Container("mp4", False, "mov")),
    (rb"\x1a\x45\xdf\xa3", Container("matroska", False, "matroska")),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Container("asf", False, "asf")),
    (rb"MAC ", Container("ape", False, "ape")),
    (rb"wvpk", Container("wavpack", False, "wv")),
    (rb"TTA1", Container("tta", False, "tta")),
    (rb"MPCK|MP\+", Container("musepack", False, "mpc8,mpc")),
    (rb"#!AMR", Container("amr", False, "amr")),
    (rb"DSD |FRM8", Container("dsd", False, "dsf,iff")),
    (rb"\x0b\x77", Container("ac3", False, "ac3,eac3")),
    (rb"RIFF....AVI ", Container("avi", False, "avi")),
    (rb"\x00\x00\x01\xba|\x00\x00\x01\xb3", Container("mpeg", False, "mpeg")),
    (rb"FLV|\.RMF|ajkg|tBaK|\x7f\xfe\x80\x01|#!SILK", Container("other", False, "flv,rm,shn,tak,dts")),
)
_BY_HEAD = tuple((re.compile(magic, re.DOTALL), container) for magic, container in _CONTAINERS)
# MPEG audio and its like have no other mark than their frames, and often a tag before them.
_STREAMS = Container("mpeg audio", False, "mp3,aac,loas,ac3,eac3,dts,flac,tta,ape,wv,mpc,mpegts")
# The tag, or the first frame of MPEG layers II and III or of AAC, with none of the values that are reserved.
_BEGINS_STREAM = re.compile(rb"ID3[\x02-\x04]|\xff[\xe2\xe3\xf2-\xf5\xfa-\xfd][\x10-\xef]|\xff[\xf1\xf9][\x00-\xbf]")


def is_audio_name(path: str) -> bool:
    """Whether a file is listed as a track because of its name: it ends like music, and is not hidden."""
    name = path.rpartition("/")[2].lower()
    return name.endswith((*EXTENSIONS, *OTHER_MUSIC_EXTENSIONS)) and not name.startswith(".")


def container_of(head: bytes) -> Container:
    """The family of a file, by its first HEAD_BYTES alone; what has no mark is taken for MPEG audio or the like."""
    return next((container for magic, container in _BY_HEAD if magic.match(head)), _STREAMS)


def is_audio_content(head: bytes) -> bool:
    """Whether a file's first HEAD_BYTES are those of an audio format: for files whose names do not tell."""
    return container_of(head) is not _STREAMS or bool(_BEGINS_STREAM.match(head))
