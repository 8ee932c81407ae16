"""A command keeps the memory that tensors free; an environment that says otherwise is obeyed."""

import os
import subprocess
import sys

import pytest

MAPPED = """
import ctypes
from lightning_smooth.allocator import keep_memory
print(keep_memory())
before = int(open("/proc/self/statm").read().split()[0])
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
block = libc.malloc(ctypes.c_size_t(1 << 28))
libc.free(ctypes.c_void_p(block))
print((int(open("/proc/self/statm").read().split()[0]) - before) * 4096 >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
@pytest.mark.parametrize(
    ("setting", "done", "kept"), [({}, "True", 256), ({"MALLOC_MMAP_MAX_": "9"}, "False", 0)]
)
def test_a_freed_block_stays_with_the_process(setting, done, kept):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    printed = subprocess.run(
        [sys.executable, "-c", MAPPED],
        env={**environment, **setting}, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert printed[0] == done
    assert int(printed[1]) == pytest.approx(kept, abs=8)
