"""The adapter to auto_LiRPA: a module that stands in for it, and the real one where it imports."""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from lightning_smooth.errors import InputError
from lightning_smooth.verify import crown_bounds, interval_bounds
from lightning_smooth.verify.lirpa import lirpa_bounds
from tests.verify.networks import images, network


def real():
    """Why auto_LiRPA cannot be used; None where it can."""
    try:
        import auto_LiRPA
        import auto_LiRPA.perturbations
    except Exception as error:
        return f"auto_LiRPA does not import: {error}"
    return None if auto_LiRPA.BoundedModule else "auto_LiRPA is empty"


class Standing:
    """What the adapter uses of auto_LiRPA, whose bounds of a network are plain intervals."""

    def __init__(self):
        self.seen = {}
        self.package = ModuleType("auto_LiRPA")
        self.perturbations = ModuleType("auto_LiRPA.perturbations")
        seen = self.seen

        class PerturbationLpNorm:
            def __init__(self, eps=0, norm=float("inf"), x_L=None, x_U=None):
                self.ends = x_L, x_U

        class BoundedTensor:
            def __init__(self, data, ptb=None):
                self.data, self.ptb = data, ptb

        class BoundedModule:
            def __init__(self, model, global_input, bound_opts=None, device="auto"):
                self.model = model
                seen.update(training=model.training, like=tuple(global_input.shape))

            def compute_bounds(self, x=None, method="backward"):
                seen["method"] = method
                assert torch.equal(x[0].data, sum(x[0].ptb.ends) / 2)
                return interval_bounds(self.model, *x[0].ptb.ends)

        self.package.BoundedModule = BoundedModule
        self.package.BoundedTensor = BoundedTensor
        self.perturbations.PerturbationLpNorm = PerturbationLpNorm

    def install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "auto_LiRPA", self.package)
        monkeypatch.setitem(sys.modules, "auto_LiRPA.perturbations", self.perturbations)


def test_the_box_and_the_network_are_handed_over(monkeypatch):
    standing = Standing()
    standing.install(monkeypatch)
    model, center = network("tiny").train(), images("tiny")
    found = lirpa_bounds(model, center - 0.01, center + 0.02, method="IBP")
    expected = interval_bounds(model, center - 0.01, center + 0.02)
    assert torch.equal(found.lower, expected.lower)
    assert torch.equal(found.upper, expected.upper)
    assert not found.lower.requires_grad
    assert standing.seen == {"training": False, "like": (1, 1, 8, 8), "method": "IBP"}
    assert model.training


@pytest.mark.parametrize("missing", ["auto_LiRPA", "auto_LiRPA.perturbations"])
def test_what_to_install_is_told(monkeypatch, missing):
    Standing().install(monkeypatch)
    monkeypatch.setitem(sys.modules, missing, None)
    center = images("tiny")
    with pytest.raises(InputError, match=r"auto_LiRPA.*numpy 2.*pip install --no-deps"):
        lirpa_bounds(network("tiny"), center, center)


def test_boxes_are_checked():
    center = images("tiny")
    with pytest.raises(InputError, match="no lower bound above"):
        lirpa_bounds(network("tiny"), center + 1, center)


@pytest.mark.skipif(real() is not None, reason=str(real()))
def test_bounds_are_as_wide_as_ours():
    """Both relax ReLU by a chord and a line through 0; ours also take the interval's bounds."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5)
    ).eval()  # fmt: skip
    center = images("tiny")
    low, high = center - 0.01, center + 0.01
    theirs, ours = lirpa_bounds(model, low, high), crown_bounds(model, low, high)
    widths = [float((b.upper - b.lower).mean()) for b in (theirs, ours)]
    assert widths[1] < 1.1 * widths[0]
    with torch.no_grad():
        scores = model(center)
    assert bool(((theirs.lower - 1e-4 <= scores) & (scores <= theirs.upper + 1e-4)).all())
