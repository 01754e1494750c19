"""The least that preprocessing can take: decode, FFT and mel bands of every clip, without Beam and without writing.

python -m benchmarks.bare_loop DIR    prints the seconds that it took, imports left out

As many threads as there are cores, BLAS held to one thread each, as in the job.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile
import threadpoolctl

from beam_preprocess.log_mel import PRESETS, FrontEnd


def main() -> None:
    """Transforms all clips of a folder, and drops the spectrograms."""
    paths = sorted(Path(sys.argv[1]).glob("*/*.wav"))
    front_end = FrontEnd(PRESETS["cbmi2016"])

    def frames(path: Path) -> int:
        waveform, _ = soundfile.read(path, dtype="float32")
        return len(front_end(waveform))

    with threadpoolctl.threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        began = time.perf_counter()
        sum(pool.map(frames, paths))
        print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
