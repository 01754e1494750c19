"""Progress of an audit on this machine."""

import contextlib
from pathlib import PurePosixPath
from typing import TextIO

from beam_preprocess import storage
from beam_preprocess.audit.batch import heard_name, parse_heard
from beam_preprocess.audit.sound import Sound
from beam_preprocess.plan import Plan
from beam_preprocess.progress import Progress


class AuditProgress(Progress):
    """Watches the files appear in which workers keep what they have heard."""

    @classmethod
    def of(cls, output: str, plan: Plan, stream: TextIO) -> contextlib.AbstractContextManager[object]:
        """Progress where the output is on this machine, else nothing."""
        here = storage.local_path(output)
        return cls(here, plan, stream) if here else contextlib.nullcontext()

    def _names(self, plan: Plan) -> set[str]:
        return {PurePosixPath(heard_name(number)).name for number in range(len(plan.shards))}

    def _counts(self, text: str) -> tuple[int, int, float]:
        heard = parse_heard(text)
        sounds = [item for item in heard if isinstance(item, Sound)]
        return len(sounds), len(heard) - len(sounds), sum(sound.duration_s for sound in sounds)
