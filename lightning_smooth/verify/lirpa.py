"""Bounds by auto_LiRPA, to compare ours with. Optional: nothing else here needs it.

Source: Xu et al., "Automatic perturbation analysis for scalable certified robustness and beyond",
NeurIPS 2020. https://github.com/Verified-Intelligence/auto_LiRPA
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Final

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError
from lightning_smooth.smoothing.smoothed import evaluating
from lightning_smooth.verify.regions import Bounds, check_box

_PACKAGE: Final = "auto_LiRPA"


def lirpa_bounds(network: nn.Module, lower: Tensor, upper: Tensor, method: str = "CROWN") -> Bounds:
    """Bounds of a network's scores over boxes of images, as auto_LiRPA has them.

    Guarantee: none of ours. The bounds are those of real arithmetic, computed in floating point
    without outward rounding, so that a score may leave them by a rounding error: they are good
    to compare with, and not to certify. For that see `crown_bounds`.

    Args:
        network: images (B, C, H, W) -> scores (B, K), of steps that auto_LiRPA knows; taken as in
            eval mode.
        lower: (B, C, H, W) least pixels, in the network's dtype.
        upper: greatest, likewise.
        method: what auto_LiRPA calls it, such as `IBP`, `CROWN`, `CROWN-IBP` or `alpha-CROWN`.

    Returns:
        Bounds (B, K).

    Raises:
        InputError: auto_LiRPA cannot be imported, or the boxes are not what was expected.
    """
    box = check_box(lower, upper)
    package = _imported(_PACKAGE)
    perturbations = _imported(f"{_PACKAGE}.perturbations")
    center = (box.lower + box.upper) / 2
    with evaluating(network):
        bounded = package.BoundedModule(network, torch.zeros_like(center[:1]), device=center.device)
        kept = perturbations.PerturbationLpNorm(x_L=box.lower, x_U=box.upper)
        images = package.BoundedTensor(center, kept)
        low, high = bounded.compute_bounds(x=(images,), method=method)
    return Bounds(low.detach(), high.detach())


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, AttributeError) as error:  # its 0.3 fails so beside numpy 2
        raise InputError(
            f"Expected auto_LiRPA to be installed for `lirpa_bounds`, but importing {name} gave "
            f"{type(error).__name__}: {error}. Its release 0.3 does not import beside numpy 2 and "
            "torch 2 (`scripts/compare_lirpa --python` runs it in another interpreter); its "
            "development version does, without its pin of torch: pip install --no-deps "
            "git+https://github.com/Verified-Intelligence/auto_LiRPA, and whatever it then lacks."
        ) from error
