"""One sample from a pixel that shows four: the paper's example, and brute force."""

import itertools
import math

import pytest
import torch

from lightning_smooth.interpolation.boxes import swept_boxes
from lightning_smooth.interpolation.solving import odds, solved
from lightning_smooth.transforms import Rotation


def interval(low, high):
    return torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)


def test_the_papers_example():
    """Attack of 23 to 26 degrees, samples at odd numbers, so 2 apart: what pixel (5, 1) tells."""
    # What it sweeps. The paper's box, by interval arithmetic, is a little larger along y.
    angles = torch.tensor([[23.0]]), torch.tensor([[26.0]])
    boxes = swept_boxes(Rotation(), *angles, height=8, width=8)
    ends = [
        round(2 * (float(end[0, 4, 6]) - 3.5), 2)
        for end in (boxes.x_low, boxes.x_high, boxes.y_low, boxes.y_high)
    ]
    assert ends == [4.06, 4.21, 2.87, 3.09]
    # What it says of pixel (3, 3), in the cell on either side, with the paper's box.
    unknown, shown = interval(0.0, 1.0), interval(0.9, 0.9)
    x = (odds(torch.tensor((4.06 - 3) / 2)), odds(torch.tensor((4.21 - 3) / 2)))
    sides = []
    for far in ((3.11 - 3) / 2, (3 - 2.85) / 2):
        y = (torch.tensor(0.0), odds(torch.tensor(far)))
        sides.append(solved(shown, x, y, unknown, unknown, unknown))
    (low, high), (other_low, other_high) = sides
    assert (round(float(low), 2), round(float(other_low), 2)) == (0.73, 0.73)
    assert math.floor(100 * float(other_low)) == 72  # as printed: a lower end, rounded down
    assert 2.4 < float(high) < float(other_high) < 2.48
    joined = max(0.0, min(float(low), float(other_low)))
    assert (round(joined, 2), min(1.0, float(other_high))) == (0.73, 1.0)


def test_the_solved_form_is_the_range_over_all_it_depends_on():
    generator = torch.Generator().manual_seed(3)
    count, parts = 300, [0.0, 0.25, 0.5, 0.75, 1.0]

    def random():
        return torch.rand(2, count, generator=generator, dtype=torch.float64).sort(dim=0)[0]

    shown, a, b, d = (tuple(random()) for _ in range(4))
    s, t = 0.9 * random(), 0.9 * random()
    low, high = solved(shown, tuple(odds(s)), tuple(odds(t)), a, b, d)
    found = []
    for p, r in itertools.product(parts, parts):
        u, v = s[0] + p * (s[1] - s[0]), t[0] + r * (t[1] - t[0])
        for q, x, y, z in itertools.product(shown, a, b, d):
            rest = u * (1 - v) * x + (1 - u) * v * y + u * v * z
            found.append((q - rest) / ((1 - u) * (1 - v)))
    assert torch.allclose(torch.stack(found).amin(0), low, rtol=1e-12, atol=1e-12)
    assert torch.allclose(torch.stack(found).amax(0), high, rtol=1e-12, atol=1e-12)


def test_the_farthest_corner_alone_would_be_wrong():
    # The others are known to be at most .2, and .5 is shown: the more of them, the larger is p.
    dark, shown = interval(0.0, 0.2), interval(0.5, 0.5)
    x = y = (odds(torch.tensor(0.1)), odds(torch.tensor(0.4)))
    low, _ = solved(shown, x, y, dark, dark, dark)
    near, far = ((0.5 - (1 - w) * 0.2) / w for w in (0.81, 0.36))
    assert float(low) == pytest.approx(near)
    assert far > near + 0.4
