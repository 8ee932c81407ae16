"""Bounds of sums over forms whose two sides differ by many orders of magnitude."""

import torch

from lightning_smooth.verify import ParameterForms

DOUBLE = {"dtype": torch.float64}


def test_a_large_form_above_takes_nothing_from_what_is_known_below():
    """x in [0, 1e20], y in [0, 1]: the least of x - y is -1, which 1e20 - 1 - 1e20 forgets."""
    above = torch.tensor([1e20, 1.0], **DOUBLE).reshape(1, 1, 1, 2)
    row = torch.tensor([1.0, -1.0], **DOUBLE).reshape(1, 1, 1, 1, 2)
    nothing = torch.zeros_like(above)
    added = ParameterForms(
        nothing[:, None], nothing, nothing[:, None], above, torch.zeros(1, 1, 2, **DOUBLE)
    )
    assert float(added.lower(row)) <= -1
    box = torch.tensor([[[0.0, 1.0]]], **DOUBLE)
    sloped = ParameterForms(nothing[:, None], nothing, above[:, None], nothing, box)
    assert float(sloped.lower(row)) <= -1
