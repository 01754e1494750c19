"""The decoder of what is coded: FFmpeg, by PyAV.

A filter graph inside FFmpeg reads, demuxes and decodes, and Python sees seconds of audio at a time: packet by packet,
threads would wait for each other, and half of the time would be Python's. What the graph does not do (it stops at the
first damaged packet, and at a change of rate or channels) is decoded packet by packet.
"""

import contextlib
import itertools
import logging
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from beam_preprocess.audio import containers
from beam_preprocess.audio.block import Block, DecodeError, Reject, after, check_rate
from beam_preprocess.audio.formats import Container
from beam_preprocess.audio.source import Source

# Values, over all channels, that are decoded at a time: what fits into a processor's cache.
_BLOCK_VALUES = 1 << 18
# Demuxers whose length is an estimate by the size of the file.
_ESTIMATED = {"aac", "loas", "ac3", "eac3", "dts", "amr", "mpegts", "mpeg", "avi"}
# Those whose length is that of the samples; of others, frames and clocks round it, and an encoder's delay may count.
_EXACT = {"wav", "w64", "aiff", "au", "flac", "tta", "wv", "ape", "ogg"}
_EXACT_S, _ROUNDED_S = 0.04, 0.1
# What damaged packets may take from the middle of a file: two frames of AAC or WMA, three of MP3.
_LOST_TOLERANCE_S = 0.1
# Titles and artists of old files are in other encodings; PyAV would raise where it reads them, and nothing here does.
_TAGS_NOT_IN_UTF_8 = "replace"
# Sample types of FFmpeg that are not floats: type, offset and scale.
_INTEGERS = {
    "u8": (np.uint8, 128, 1 << 7),
    "s16": (np.int16, 0, 1 << 15),
    "s32": (np.int32, 0, 1 << 31),
    "s64": (np.int64, 0, 1 << 63),
}
_FLOATS = {"flt": np.float32, "dbl": np.float64}
# FFmpeg's logging is one for the whole process, whose threads decode.
_logging = threading.Lock()


def blocks(source: Source, container: Container) -> Iterator[Block]:
    """Decodes a file.

    Raises:
      DecodeError: FFmpeg cannot make anything of it.
      Reject: it ends before it should, too much of it is damaged, or it cannot be read.
    """
    with _opened(source, container) as opened:
        stream = _audio_stream(opened)
        length = _declared(source, opened, stream)
        demuxer, frames = opened.format.name, _block_samples(stream)
    samples = 0
    duration_s = 0.0
    try:
        for block in _graph_blocks(source, container, frames):
            samples += block.samples
            duration_s += block.samples / block.rate
            yield block
    except av.error.FFmpegError:
        # What the graph gave is good; the rest follows packet by packet.
        for block in after(_packet_blocks(source, container, frames), samples):
            duration_s += block.samples / block.rate
            yield block
    if duration_s < length.seconds - length.tolerance_s and not _ends_as_a_whole_file(
        source, container, demuxer, length
    ):
        raise Reject("truncated", f"{duration_s:.2f} of {length.seconds:.2f} s")


@contextlib.contextmanager
def _opened(source: Source, container: Container) -> Iterator[InputContainer]:
    """Opens a file with FFmpeg.

    Raises:
      DecodeError: it cannot.
    """
    options = _options(source, container)
    try:
        opened = av.open("fd:", options=options, metadata_errors=_TAGS_NOT_IN_UTF_8)
    except av.error.FFmpegError as error:
        raise DecodeError(f"{error.strerror}{_said(source, container)}") from None
    with opened:
        yield opened


def _options(source: Source, container: Container) -> dict[str, str]:
    """How FFmpeg opens a file: nothing but this descriptor, by no other demuxer than its content asks for."""
    return {"fd": str(source.rewind()), "protocol_whitelist": "fd", "format_whitelist": container.demuxers}


def _said(source: Source, container: Container) -> str:
    """What FFmpeg logs when it cannot open a file, which its error does not tell."""
    with _errors_logged(), av.logging.Capture() as logs, contextlib.suppress(av.error.FFmpegError):
        av.open("fd:", options=_options(source, container), metadata_errors=_TAGS_NOT_IN_UTF_8).close()
    return f" ({logs[-1][2].strip()})" if logs else ""


@contextlib.contextmanager
def _errors_logged() -> Iterator[None]:
    """Has FFmpeg log errors, which go nowhere unless they are captured; one thread at a time."""
    logger = logging.getLogger("libav")
    with _logging:
        level, skips, propagate = av.logging.get_level(), av.logging.get_skip_repeated(), logger.propagate
        # What the file before was refused for is to be told of this one too.
        av.logging.set_skip_repeated(False)
        logger.propagate = False
        av.logging.set_level(av.logging.ERROR)
        try:
            yield
        finally:
            av.logging.set_level(level)
            av.logging.set_skip_repeated(skips)
            logger.propagate = propagate


def _audio_stream(opened: InputContainer) -> AudioStream:
    """The stream that a player would play.

    Raises:
      DecodeError: there is none, or its codec is not known.
      Reject: its rate is none of audio.
    """
    stream = opened.streams.best("audio")
    if not isinstance(stream, AudioStream):
        raise DecodeError("no audio in it")
    if stream.codec_context is None:
        raise DecodeError("an unknown codec")
    if stream.codec_context.sample_rate:
        check_rate(stream.codec_context.sample_rate)
    return stream


def _block_samples(stream: AudioStream) -> int:
    return max(1, _BLOCK_VALUES // max(1, stream.codec_context.channels))


class _Length(NamedTuple):
    """How long a file says that it is: 0 where it does not say; and how much less may be decoded of a whole one."""

    seconds: float
    tolerance_s: float


def _declared(source: Source, opened: InputContainer, stream: AudioStream) -> _Length:
    demuxer = opened.format.name
    if demuxer == "mp3":
        return _Length(containers.mp3_length_s(source) or 0.0, 0.0)
    if demuxer == "asf":
        return _Length(containers.asf_length_s(source) or 0.0, _ROUNDED_S)
    if demuxer in _ESTIMATED:
        return _Length(0.0, 0.0)
    tolerance_s = _EXACT_S if demuxer in _EXACT else _ROUNDED_S
    if stream.duration and stream.time_base:
        return _Length(float(stream.duration * stream.time_base), tolerance_s)
    return _Length((opened.duration or 0) / av.time_base, tolerance_s)


def _graph_blocks(source: Source, container: Container, samples: int) -> Iterator[Block]:
    """Decodes by a filter graph, so many samples at a time.

    Raises:
      FFmpegError: at the first packet that is damaged, and where rate or channels change.
    """
    options = ":".join(f"{name}={_escaped(value)}" for name, value in _options(source, container).items())
    graph = av.filter.Graph()
    graph.threads = 1
    graph.link_nodes(
        graph.add("amovie", filename="fd:", format_opts=options),
        graph.add("aformat", sample_fmts="fltp"),
        graph.add("asetnsamples", n=str(samples), p="0"),
        graph.add("abuffersink"),
    ).configure()
    with contextlib.suppress(av.error.EOFError):
        while True:
            yield _block([cast("AudioFrame", graph.pull())])


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")


def _packet_blocks(source: Source, container: Container, samples: int) -> Iterator[Block]:
    """Decodes packet by packet, about so many samples at a time; damaged packets are left out, as players do.

    Raises:
      Reject: they are too many.
    """
    with _opened(source, container) as opened:
        packets = _Packets(opened, _audio_stream(opened))
        for _, same in itertools.groupby(packets.frames(), key=_form):
            waiting: list[AudioFrame] = []
            count = 0
            for frame in same:
                waiting.append(frame)
                count += frame.samples
                if count >= samples:
                    yield _block(waiting)
                    waiting, count = [], 0
            if waiting:
                yield _block(waiting)
    packets.check_loss()


def _form(frame: AudioFrame) -> tuple[int, str, int]:
    return frame.sample_rate, frame.format.name, frame.layout.nb_channels


class _Packets:
    """The packets of a stream, decoded, and what of them is damaged."""

    def __init__(self, opened: InputContainer, stream: AudioStream) -> None:
        self._opened, self._stream = opened, stream
        self._packets = self._damaged = 0
        self._lost_s = self._waiting_s = 0.0
        self._ended_by: av.error.FFmpegError | None = None

    def frames(self) -> Iterator[AudioFrame]:
        """All that can be decoded."""
        try:
            for packet in self._opened.demux(self._stream):
                self._packets += 1
                try:
                    found = packet.decode()
                except av.error.FFmpegError:
                    self._damaged += 1
                    self._waiting_s += float((packet.duration or 0) * (packet.time_base or 0))
                    continue
                if found:
                    # What is damaged at the end may be no audio: a tag, or half a frame.
                    self._lost_s += self._waiting_s
                    self._waiting_s = 0.0
                yield from found
        except av.error.FFmpegError as error:
            self._ended_by = error

    def check_loss(self) -> None:
        """Raises Reject if too much is lost."""
        if self._lost_s > _LOST_TOLERANCE_S or 2 * self._damaged > self._packets:
            detail = f"{self._damaged} of {self._packets} packets are damaged ({self._lost_s:.2f} s)"
            raise Reject("undecodable", detail)
        if isinstance(self._ended_by, OSError) and not isinstance(self._ended_by, av.error.InvalidDataError):
            raise Reject("unreadable", self._ended_by.strerror)


def _block(frames: list[AudioFrame]) -> Block:
    """Frames of one form as a block."""
    planes = [_channels(frame) for frame in frames]
    if len(planes) == 1:
        channels = tuple(planes[0])
    else:
        channels = tuple(np.concatenate(parts) for parts in zip(*planes, strict=True))
    check_rate(frames[0].sample_rate)
    return Block(channels, frames[0].sample_rate)


def _channels(frame: AudioFrame) -> list[np.ndarray]:
    """[samples] float32 of each channel."""
    count, name = frame.layout.nb_channels, frame.format.name
    kind = name.removesuffix("p")
    dtype: Any = _FLOATS[kind] if kind in _FLOATS else _INTEGERS[kind][0]
    if name.endswith("p"):
        values = [np.frombuffer(cast("Any", frame.planes[channel]), dtype, frame.samples) for channel in range(count)]
    else:
        values = list(np.frombuffer(cast("Any", frame.planes[0]), dtype, frame.samples * count).reshape(-1, count).T)
    if kind in _FLOATS:
        return [np.asarray(channel, np.float32) for channel in values]
    _, offset, scale = _INTEGERS[kind]
    return [(channel.astype(np.float64) - offset).astype(np.float32) / np.float32(scale) for channel in values]


def _ends_as_a_whole_file(source: Source, container: Container, demuxer: str, length: _Length) -> bool:
    """Whether a file that is shorter than it says was not cut off: a tool that shortened it left its header alone."""
    if demuxer == "mp3":
        return containers.mp3_ends_with_a_frame(source)
    with _opened(source, container) as opened:
        return _reaches_its_end(opened, length)


def _reaches_its_end(opened: InputContainer, length: _Length) -> bool:
    """Whether all packets that an index lists are there, or another stream, as a film's pictures, lasts as long."""
    stream = _audio_stream(opened)
    packets, others_s = 0, 0.0
    with contextlib.suppress(av.error.FFmpegError):
        for packet in opened.demux():
            if packet.stream.index == stream.index:
                packets += packet.size > 0
            elif packet.pts is not None and packet.time_base:
                others_s = max(others_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return packets == stream.frames or others_s >= length.seconds - length.tolerance_s
