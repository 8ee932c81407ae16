"""Parts of what is sampled, and sampling by a table: the same as sampling all."""

from __future__ import annotations

import pytest
import torch

from lightning_smooth.transforms.geometric import rotation_matrix
from lightning_smooth.transforms.sampling import affine_sample, sample_weights

ANGLES = torch.tensor([0.0, 13.7, 45.0, 90.0, -160.2], dtype=torch.float64)
KEPT = slice(2, 8), slice(1, 12)


@pytest.mark.parametrize("count", [1, len(ANGLES)])
def test_what_is_kept_is_a_part_of_the_whole(count: int) -> None:
    images = torch.rand(count, 2, 9, 14, dtype=torch.float64)
    whole = affine_sample(images, rotation_matrix(ANGLES))
    part = affine_sample(images, rotation_matrix(ANGLES), kept=KEPT)
    torch.testing.assert_close(part, whole[:, :, KEPT[0], KEPT[1]], rtol=0, atol=1e-14)


def test_a_table_of_weights_samples_as_positions_do() -> None:
    image = torch.rand(1, 2, 9, 14, dtype=torch.float64)
    places, weights = sample_weights(rotation_matrix(ANGLES), 9, 14, *KEPT)
    mixed = (image.flatten(2)[0][:, places.long()] * weights).sum(dim=-1)  # (C, B, P)
    expected = affine_sample(image, rotation_matrix(ANGLES), kept=KEPT).flatten(2)
    torch.testing.assert_close(mixed.transpose(0, 1), expected, rtol=0, atol=1e-13)
    assert bool((weights >= 0).all())
    assert bool((weights.sum(dim=-1) <= 1 + 1e-14).all())
