"""Audio files: decoded by content, whole or rejected with a reason. No Beam, no TensorFlow."""

from beam_preprocess.audio.decoder import MAX_ENERGY as MAX_ENERGY
from beam_preprocess.audio.decoder import Observer as Observer
from beam_preprocess.audio.decoder import decode as decode
from beam_preprocess.audio.decoder import stream as stream
from beam_preprocess.audio.formats import EXTENSIONS as EXTENSIONS
from beam_preprocess.audio.rejects import REASONS as REASONS
from beam_preprocess.audio.rejects import Block as Block
from beam_preprocess.audio.rejects import NoRoom as NoRoom
from beam_preprocess.audio.rejects import Reject as Reject
