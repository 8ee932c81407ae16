"""Memory does not grow with the number of draws."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys, torch
from lightning_smooth.certify import GaussianCertifier
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
certifier = GaussianCertifier(0.5, n=int(sys.argv[1]))
assert certifier(model, torch.rand(1, 28, 28), index=0).n == int(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_megabytes(n):
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(n)], capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no resource module there")
def test_memory_does_not_grow_with_n():
    # 1e5 images of 28 x 28 floats would be 299 MB
    assert peak_megabytes(100_000) - peak_megabytes(1_000) < 15
