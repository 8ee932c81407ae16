"""How often certificates of ranges are wrong, where the truth is known."""

import torch
from scipy.stats import binom
from torch import nn

from lightning_smooth.certify import CoverCertifier
from lightning_smooth.transforms import Brightness

IMAGE = torch.full((1, 4, 4), 0.5)
ALPHA, RUNS, END = 0.3, 150, 0.05


class Bright(nn.Module):
    """Class 1 where the mean is above .5 - END: darkening by END changes it, and that of g."""

    def forward(self, x):
        score = x.mean(dim=(1, 2, 3)) - (0.5 - END)
        return torch.stack([-score, score], dim=1)


def test_what_is_certified_is_false_as_rarely_as_alpha_says():
    # Darkening is the direction in which the class is lost soonest: what an anchor costs is exact,
    # and every bound that is too large is a certificate that is false.
    certifier = CoverCertifier(
        Brightness(), {"brightness": (-2 * END, 0.0)}, 0.4,
        radii=[1.0], reach=0.3, anchors=4, n0=8, n=600, stray=0.005, alpha=ALPHA,
    )  # fmt: skip
    found = list(
        certifier.certify_batch(Bright(), [IMAGE] * RUNS, indices=range(RUNS), labels=[1] * RUNS)
    )
    false = sum(c.predicted == 1 and c.radius > 0.5 + 1e-9 for c in found)
    assert false <= binom.ppf(0.9999, RUNS, ALPHA)
    # The truth is nearly reached by some, so that larger bounds would show.
    assert sum(c.radius > 0.4 for c in found) > RUNS / 10
    assert false > 0
