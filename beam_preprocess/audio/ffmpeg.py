"""The decoder of coded audio: FFmpeg, by PyAV.

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

from beam_preprocess.audio import headers
from beam_preprocess.audio.formats import Container
from beam_preprocess.audio.rejects import Block, DecodeError, Reject, check_rate, skip_samples
from beam_preprocess.audio.source import Source

# Values, over all channels, that are decoded at a time: what fits into a processor's cache.
_BLOCK_VALUES = 1 << 18
# Demuxers that estimate the length by the size of the file.
_ESTIMATED = {"aac", "loas", "ac3", "eac3", "dts", "amr", "mpegts", "mpeg", "avi"}
# Demuxers whose length is that of the samples; others round it to frames or clocks, or count an encoder's delay.
_EXACT = {"wav", "w64", "aiff", "au", "flac", "tta", "wv", "ape", "ogg"}
_EXACT_S, _ROUNDED_S = 0.04, 0.1
# Audio that damaged packets may take from the middle of a file: two frames of AAC or WMA, three of MP3.
_LOST_TOLERANCE_S = 0.1
# Tags of old files are not in UTF-8, where PyAV would raise; nothing here reads them.
_TAGS_NOT_IN_UTF_8 = "replace"
# FFmpeg's integer sample formats: dtype, offset and scale. And its floats.
_INTEGERS = {
    "u8": (np.uint8, 128, 1 << 7),
    "s16": (np.int16, 0, 1 << 15),
    "s32": (np.int32, 0, 1 << 31),
    "s64": (np.int64, 0, 1 << 63),
}
_FLOATS = {"flt": np.float32, "dbl": np.float64}
# FFmpeg's log level is one for the whole process.
_log_lock = threading.Lock()


class _Length(NamedTuple):
    """The length that a file declares, 0 where it declares none, and by how much a whole file may be shorter."""

    seconds: float
    tolerance_s: float


def decode_blocks(source: Source, container: Container) -> Iterator[Block]:
    """Yield the blocks of a file.

    Raises:
      DecodeError: FFmpeg cannot read the file.
      Reject: it ends before it should, too much of it is damaged, or it cannot be read.
    """
    with _open(source, container) as opened:
        stream = _audio_stream(opened)
        length = _declared_length(source, opened, stream)
        demuxer = opened.format.name
        block_samples = max(1, _BLOCK_VALUES // max(1, stream.codec_context.channels))
    samples = 0
    duration_s = 0.0
    try:
        for block in _graph_blocks(source, container, block_samples):
            samples += block.samples
            duration_s += block.samples / block.rate
            yield block
    except av.error.FFmpegError:
        # What the graph gave is good; the rest follows packet by packet.
        for block in skip_samples(_packet_blocks(source, container, block_samples), samples):
            duration_s += block.samples / block.rate
            yield block
    if duration_s < length.seconds - length.tolerance_s and not _is_whole(source, container, demuxer, length):
        raise Reject("truncated", f"{duration_s:.2f} of {length.seconds:.2f} s")


@contextlib.contextmanager
def _open(source: Source, container: Container) -> Iterator[InputContainer]:
    """Open a file with FFmpeg.

    Raises:
      DecodeError: FFmpeg cannot open it.
    """
    options = _options(source, container)
    try:
        opened = av.open("fd:", options=options, metadata_errors=_TAGS_NOT_IN_UTF_8)
    except av.error.FFmpegError as error:
        raise DecodeError(f"{error.strerror}{_logged_reason(source, container)}") from None
    with opened:
        yield opened


def _options(source: Source, container: Container) -> dict[str, str]:
    """Return options that keep FFmpeg to this descriptor and to the demuxers that the content asks for."""
    return {"fd": str(source.rewind()), "protocol_whitelist": "fd", "format_whitelist": container.demuxers}


def _logged_reason(source: Source, container: Container) -> str:
    """Return what FFmpeg logs when it cannot open a file: its error alone does not say why."""
    with _errors_logged(), av.logging.Capture() as logs, contextlib.suppress(av.error.FFmpegError):
        av.open("fd:", options=_options(source, container), metadata_errors=_TAGS_NOT_IN_UTF_8).close()
    return f" ({logs[-1][2].strip()})" if logs else ""


@contextlib.contextmanager
def _errors_logged() -> Iterator[None]:
    """Make FFmpeg log errors, which are dropped unless they are captured; one thread at a time."""
    # Meanwhile other threads may be decoding; a logger without a handler would print what they log.
    logger, handler = logging.getLogger("libav"), logging.NullHandler()
    with _log_lock:
        level, skips, propagate = av.logging.get_level(), av.logging.get_skip_repeated(), logger.propagate
        # An error that the file before had too is to be logged again.
        av.logging.set_skip_repeated(False)
        logger.propagate = False
        logger.addHandler(handler)
        av.logging.set_level(av.logging.ERROR)
        try:
            yield
        finally:
            av.logging.set_level(level)
            av.logging.set_skip_repeated(skips)
            logger.removeHandler(handler)
            logger.propagate = propagate


def _audio_stream(opened: InputContainer) -> AudioStream:
    """Return the stream that a player would play.

    Raises:
      DecodeError: there is none, or its codec is unknown.
      Reject: no audio has its sample rate.
    """
    stream = opened.streams.best("audio")
    if not isinstance(stream, AudioStream):
        raise DecodeError("no audio in it")
    if stream.codec_context is None:
        raise DecodeError("an unknown codec")
    if stream.codec_context.sample_rate:
        check_rate(stream.codec_context.sample_rate)
    return stream


def _declared_length(source: Source, opened: InputContainer, stream: AudioStream) -> _Length:
    demuxer = opened.format.name
    if demuxer == "mp3":
        return _Length(headers.mp3_length_s(source) or 0.0, 0.0)
    if demuxer == "asf":
        return _Length(headers.asf_length_s(source) or 0.0, _ROUNDED_S)
    if demuxer in _ESTIMATED:
        return _Length(0.0, 0.0)
    tolerance_s = _EXACT_S if demuxer in _EXACT else _ROUNDED_S
    if stream.duration and stream.time_base:
        return _Length(float(stream.duration * stream.time_base), tolerance_s)
    return _Length((opened.duration or 0) / av.time_base, tolerance_s)


def _graph_blocks(source: Source, container: Container, samples: int) -> Iterator[Block]:
    """Decode by a filter graph, in blocks of `samples`.

    Raises:
      FFmpegError: at the first damaged packet, and where the rate or the channels change.
    """
    options = ":".join(f"{name}={_escape(value)}" for name, value in _options(source, container).items())
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
            yield _to_block([cast("AudioFrame", graph.pull())])


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")


def _packet_blocks(source: Source, container: Container, samples: int) -> Iterator[Block]:
    """Decode packet by packet, in blocks of about `samples`; damaged packets are left out, as players do.

    Raises:
      Reject: too many packets are damaged.
    """
    with _open(source, container) as opened:
        packets = _Packets(opened, _audio_stream(opened))
        for _, frames in itertools.groupby(packets.frames(), key=_frame_format):
            waiting: list[AudioFrame] = []
            count = 0
            for frame in frames:
                waiting.append(frame)
                count += frame.samples
                if count >= samples:
                    yield _to_block(waiting)
                    waiting, count = [], 0
            if waiting:
                yield _to_block(waiting)
    packets.check_loss()


def _frame_format(frame: AudioFrame) -> tuple[int, str, int]:
    return frame.sample_rate, frame.format.name, frame.layout.nb_channels


class _Packets:
    """Decodes the packets of a stream, and counts the damaged ones."""

    def __init__(self, opened: InputContainer, stream: AudioStream) -> None:
        self._opened, self._stream = opened, stream
        self._packets = self._damaged = 0
        self._lost_s = self._waiting_s = 0.0
        self._ended_by: av.error.FFmpegError | None = None

    def frames(self) -> Iterator[AudioFrame]:
        """Yield all frames that can be decoded."""
        try:
            for packet in self._opened.demux(self._stream):
                self._packets += 1
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    self._damaged += 1
                    self._waiting_s += float((packet.duration or 0) * (packet.time_base or 0))
                    continue
                if frames:
                    # Only damage before good audio counts: at the end it may be a tag, or half a frame.
                    self._lost_s += self._waiting_s
                    self._waiting_s = 0.0
                yield from frames
        except av.error.FFmpegError as error:
            self._ended_by = error

    def check_loss(self) -> None:
        """Raise Reject where too much is lost, or the file could not be read."""
        if self._lost_s > _LOST_TOLERANCE_S or 2 * self._damaged > self._packets:
            detail = f"{self._damaged} of {self._packets} packets are damaged ({self._lost_s:.2f} s)"
            raise Reject("undecodable", detail)
        if isinstance(self._ended_by, OSError) and not isinstance(self._ended_by, av.error.InvalidDataError):
            raise Reject("unreadable", self._ended_by.strerror)


def _to_block(frames: list[AudioFrame]) -> Block:
    """Return frames of one rate, sample format and channel layout as a block."""
    planes = [_channels(frame) for frame in frames]
    if len(planes) == 1:
        channels = tuple(planes[0])
    else:
        channels = tuple(np.concatenate(parts) for parts in zip(*planes, strict=True))
    check_rate(frames[0].sample_rate)
    return Block(channels, frames[0].sample_rate)


def _channels(frame: AudioFrame) -> list[np.ndarray]:
    """Return [samples] float32 of each channel, at full scale from -1 to 1."""
    count, name = frame.layout.nb_channels, frame.format.name
    kind = name.removesuffix("p")
    dtype: Any = _FLOATS[kind] if kind in _FLOATS else _INTEGERS[kind][0]
    # A name that ends in p is planar: a plane for each channel; else one plane holds all, interleaved.
    if name.endswith("p"):
        values = [np.frombuffer(cast("Any", frame.planes[channel]), dtype, frame.samples) for channel in range(count)]
    else:
        values = list(np.frombuffer(cast("Any", frame.planes[0]), dtype, frame.samples * count).reshape(-1, count).T)
    if kind in _FLOATS:
        return [np.asarray(channel, np.float32) for channel in values]
    _, offset, scale = _INTEGERS[kind]
    return [(channel.astype(np.float64) - offset).astype(np.float32) / np.float32(scale) for channel in values]


def _is_whole(source: Source, container: Container, demuxer: str, length: _Length) -> bool:
    """Return whether a file shorter than it declares was not cut off: editors shorten files and keep the header.

    An MP3 is whole if it ends with a frame; others if all packets of the index are there, or another stream, such as a
    film's pictures, lasts as long as declared.
    """
    if demuxer == "mp3":
        return headers.mp3_ends_with_a_frame(source)
    with _open(source, container) as opened:
        stream = _audio_stream(opened)
        packets, others_s = 0, 0.0
        with contextlib.suppress(av.error.FFmpegError):
            for packet in opened.demux():
                if packet.stream.index == stream.index:
                    packets += packet.size > 0
                elif packet.pts is not None and packet.time_base:
                    others_s = max(others_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        return packets == stream.frames or others_s >= length.seconds - length.tolerance_s
