"""The diagnosis: silent on honest models, and loud on each way to hide a gradient."""

import json
from collections import OrderedDict

import pytest
import torch
from torch import nn

from lightning_smooth.attacks import BPDA, GradientMaskingDiagnosis
from lightning_smooth.errors import InputError
from tests.attacks.images import Linear, Steps, answered, network, pictures, quantised

COUNT = 40


def diagnosed(model, labels=None, images=None, **settings):
    images = pictures(COUNT) if images is None else images
    diagnosis = GradientMaskingDiagnosis(
        **{"bound": 0.04, "steps": 10, "queries": 60, "draws": 20, **settings}
    )
    labels = answered(model, images) if labels is None else labels
    return diagnosis(model, images, labels, indices=range(len(images)))


def signs(diagnosis):
    return [sign.found for sign in diagnosis.signs]


@pytest.mark.parametrize(
    ("model", "norm", "bound"),
    [(Linear(), "l2", 0.15), (network(), "linf", 0.04)],
    ids=["linear l2", "network linf"],
)
def test_an_honest_model_shows_no_sign(model, norm, bound):
    made = diagnosed(model, norm=norm, bound=bound)
    assert signs(made) == [False] * 5
    assert not made.found
    assert made.zero == 0
    assert made.images == COUNT
    assert "proves nothing" in made.verdict
    assert made.signs[2].stronger.broken == COUNT


def test_a_quantiser_shows_signs_and_none_with_bpda():
    model = quantised(levels=64)
    made = diagnosed(model)
    assert signs(made)[:3] == [False, True, True]
    assert diagnosed(model, draws=200).signs[3].found
    assert made.zero == 1
    assert "BPDA" in made.verdict
    past = diagnosed(model, gradient=BPDA({"steps": "identity"}))
    assert signs(past) == [False] * 5
    assert past.zero == 0


class Ripple(nn.Module):
    """Adds steep ripples whose slopes mislead many steps: the first one, of the image, is true."""

    def __init__(self):
        super().__init__()
        self.inner = Linear()
        self.register_buffer("seen", pictures(COUNT))

    def forward(self, x):
        # At the images themselves the slope is the model's; elsewhere it points the other way.
        with torch.no_grad():
            there = (x[:, None] - self.seen[None]).abs().flatten(2).amax(dim=2).amin(dim=1) < 1e-9
        turned = torch.where(there[:, None, None, None], x, 2 * x.detach() - x)
        return self.inner(turned)


def test_one_step_that_beats_many_is_a_sign():
    made = diagnosed(Ripple())
    assert made.signs[0].found
    assert made.signs[0].weaker.broken > made.signs[0].stronger.broken
    assert "one step beats many" in made.verdict


def test_a_few_images_are_no_sign():
    """A quantiser again, on too few images to tell attacks apart; all of them are left, though."""
    made = diagnosed(quantised(levels=64), images=pictures(4))
    assert [signs(made)[k] for k in (0, 1, 3, 4)] == [False] * 4
    assert made.signs[1].weaker.broken > 0
    assert made.zero == 1


def test_figures_are_of_images_that_are_right_and_can_be_written():
    model = Linear()
    images = pictures(COUNT)
    labels = answered(model, images)
    labels[:10] = 1 - labels[:10]
    made = diagnosed(model, labels)
    assert made.images == COUNT - 10
    for sign in made.signs:
        for figure in (sign.weaker, sign.stronger):
            assert figure.of == COUNT - 10
            assert figure.low <= figure.broken / figure.of <= figure.high
    text = str(made)
    assert text.count("\n") == 7
    assert "FGSM linf 0.04" in text
    assert made.verdict in text
    again = json.loads(json.dumps(made.to_dict()))
    assert again["signs"][1]["name"] == "a black box beats gradients"
    assert again["signs"][0]["weaker"]["broken"] == made.signs[0].weaker.broken


def test_larger_bounds_that_do_not_help():
    """Of a quantiser all that steps find is where they start, and random starts find little."""
    model = nn.Sequential(OrderedDict(steps=Steps(64), head=Linear()))
    made = diagnosed(model, bound=0.002)
    assert made.signs[4].found
    assert made.signs[4].stronger.broken < 0.2 * COUNT
    assert not diagnosed(model.head, bound=0.002).signs[4].found


def test_inputs():
    model, images = Linear(), pictures(5)
    with pytest.raises(InputError, match="none: look at"):
        diagnosed(model, 1 - answered(model, images), images)
    for settings, name in (
        ({"norm": "l1"}, "norm"), ({"bound": 0.0}, "bound"), ({"alpha": 1.0}, "alpha"),
        ({"steps": 0}, "steps"), ({"queries": 0}, "queries"), ({"draws": 0}, "draws"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"`{name}`"):
            GradientMaskingDiagnosis(**{"bound": 0.1, **settings})
