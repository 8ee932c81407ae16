"""How the C library keeps the memory that tensors leave."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # numbers of <malloc.h>


def keep_memory() -> bool:
    """Let this process keep what tensors free, to be used again.

    glibc maps every large block from the system and gives it back when it is freed, so that each
    batch pays for fresh pages: training LeNet was 1.3 to 1.6 times slower so, on a CPU
    (scripts/benchmark_certify training). The process is then as large as it was at its largest. It
    holds for all of the process, so it is for commands to do, not for a library.
    `MALLOC_MMAP_MAX_` or `MALLOC_TRIM_THRESHOLD_` in the environment leave it as they say.

    Returns:
        Whether it was done: not for another C library.
    """
    chosen = {"MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"} & set(os.environ)
    if chosen or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(
        mallopt(option, value) for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1))
    )
