"""Norms of remainders: never less than what dense sampling shows, shared or not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_smooth.interpolation.remainders import Remainders
from lightning_smooth.interpolation.seen import Seen, length
from lightning_smooth.transforms import Preprocessing, Rotation
from lightning_smooth.transforms.geometric import rotation_matrix
from lightning_smooth.transforms.sampling import affine_sample
from tests.interpolation.pictures import pictures

LEFT = torch.tensor([-97.3, -0.4, 0.0, 12.34, 44.8, 89.9, 133.0], dtype=torch.float64)
CASES = [(name, seen) for name in pictures() for seen in (None, Preprocessing(margin=1.0))]


def largest(image: Tensor, left: float, step: float, seen: Preprocessing | None) -> float:
    """The largest |K r| of 81 angles within a piece."""
    part = torch.linspace(0, 1, 81, dtype=torch.float64)
    shown = Rotation()(image[None], (left + step * part)[:, None])
    apart = shown - torch.lerp(shown[:1], shown[-1:], part[:, None, None, None])
    return float(length(apart if seen is None else seen(apart)).max())


@pytest.mark.parametrize("step", [1.5, 0.1])
@pytest.mark.parametrize(("name", "seen"), CASES)
def test_no_piece_has_a_larger_remainder(
    name: str, seen: Preprocessing | None, step: float
) -> None:
    image = pictures()[name]
    remainders = Remainders(image, Seen(seen, *image.shape[1:]), at_once=3)
    alone = remainders.windowed(LEFT, step)
    crowd = torch.cat([LEFT + step * shift / 97 for shift in range(30)])
    shared = remainders.windowed(crowd, step)[: len(LEFT)]
    exact = torch.tensor([largest(image, left, step, seen) for left in LEFT.tolist()])
    assert bool((exact <= alone + 1e-12).all())
    assert bool((exact <= shared + 1e-12).all())
    assert bool((alone <= shared + 1e-6).all())  # windows are wider
    torch.testing.assert_close(remainders.norms(LEFT + step / 2, step), alone)


def test_windows_are_kept_and_hold_for_a_quarter_more() -> None:
    image = pictures()["board"]
    remainders = Remainders(image, Seen(Preprocessing(), 12, 12), at_once=4)
    crowd = (12.0 + torch.arange(40, dtype=torch.float64) / 40).repeat(4)
    first = remainders.windowed(crowd, 1.0)
    known = {step: dict(norms) for step, norms in remainders._windows.items()}
    torch.testing.assert_close(remainders.windowed(crowd - 90, 1.0), first)
    assert remainders._windows == known
    assert len(known[1.0]) <= 1.0 / 0.25 + 1


@pytest.mark.parametrize("seen", [None, Preprocessing(), Preprocessing("rectangle", margin=3.0)])
def test_pieces_leave_out_only_what_no_rotation_shows(seen: Preprocessing | None) -> None:
    image = pictures(16)["noise"]
    size = image.shape[1:]
    remainders = Remainders(image, Seen(seen, *size), at_once=4)
    middle = torch.tensor([3.0, 60.0], dtype=torch.float64)
    some = remainders.pieces(middle, 1.0)
    everything = remainders._bounds(middle, 0.5, 1.0, torch.arange(size[0] * size[1]))
    assert bool((some <= everything).all())
    for b in torch.arange(0.0, 360.0, 7.3):
        shown = [affine_sample(y, rotation_matrix(b.expand(2))) for y in (some, everything)]
        kept = shown if seen is None else [seen(y) for y in shown]
        torch.testing.assert_close(*kept, rtol=0, atol=0)
