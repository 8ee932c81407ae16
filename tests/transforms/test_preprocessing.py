"""Vignette, then blur: which steps, in which order, and what is refused."""

import pickle

import pytest
import torch
from torch import nn

from lightning_smooth.errors import InputError
from lightning_smooth.transforms import PreBlur, Preprocessing, Vignette

BOTH = [
    Preprocessing(),
    Preprocessing("rectangle", 1.5, blur=3, s=1.0),
    Preprocessing(None),
    Preprocessing(margin=0, blur=None),
    Preprocessing(None, blur=None),
]
every_choice = pytest.mark.parametrize("step", BOTH, ids=repr)


def white():
    return torch.ones(2, 3, 28, 26, dtype=torch.float64)


def test_the_vignette_comes_first():
    image = torch.rand(2, 3, 28, 26)
    found = Preprocessing()(image)
    assert torch.equal(found, PreBlur(5, s=2.0)(Vignette("circle", margin=2)(image)))
    # The other way round nothing would be left outside the circle.
    assert not torch.allclose(found, Vignette()(PreBlur()(image)))
    outside = ~Vignette().mask(28, 26)
    assert Preprocessing()(white())[:, :, outside].max() > 0.1


@pytest.mark.parametrize("vignette", ["circle", "rectangle", None])
@pytest.mark.parametrize("blur", [3, None])
def test_none_leaves_a_step_out(vignette, blur):
    image = torch.rand(2, 1, 12, 11)
    expected = image if vignette is None else Vignette(vignette, margin=None)(image)
    expected = expected if blur is None else PreBlur(3, s=0.7)(expected)
    step = Preprocessing(vignette, blur=blur, s=0.7)
    assert torch.equal(step(image), expected)
    assert (step.vignette is None, step.blur is None) == (vignette is None, blur is None)


def test_the_steps_are_there_for_bounds():
    step = Preprocessing("rectangle", margin=1, blur=3)
    assert isinstance(step.vignette, Vignette)
    assert isinstance(step.blur, PreBlur)
    assert step.vignette.margin == 1
    assert (step.blur.size, step.blur.s) == (3, 2.0)
    assert Preprocessing().vignette.margin == 2
    assert Preprocessing("rectangle").vignette.margin == 4


@every_choice
def test_bounds_of_images_become_bounds(step):
    generator = torch.Generator().manual_seed(0)
    low, part = torch.rand(2, 2, 3, 9, 12, dtype=torch.float64, generator=generator)
    high = low + (1 - low) * part
    assert (step(low) <= step(high)).all()
    torch.testing.assert_close(step(2 * low - 3 * part), 2 * step(low) - 3 * step(part))
    assert step(torch.zeros(1, 1, 9, 9)).abs().max() == 0
    assert step(white()).max() <= 1 + 1e-15


@every_choice
def test_it_learns_nothing_stores_nothing_and_tells_what_it_is(step):
    assert step.state_dict() == {}
    assert not list(step.parameters())
    image = torch.rand(2, 1, 9, 9)
    for again in (pickle.loads(pickle.dumps(step)), eval(repr(step))):
        assert repr(again) == repr(step)
        assert torch.equal(again(image), step(image))
    assert repr(step) in repr(nn.Sequential(step))


def test_reprs_differ_where_settings_do():
    assert repr(Preprocessing()) == "Preprocessing('circle', margin=2, blur=5, s=2)"
    assert len({repr(step) for step in BOTH}) == len(BOTH)


@every_choice
def test_gradients_are_derivatives(step):
    image = torch.rand(1, 1, 9, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(step, (image,))


def test_autocast_does_not_round_images():
    image = torch.rand(2, 1, 12, 12)
    with torch.autocast("cpu", torch.bfloat16):
        found = Preprocessing()(image)
        assert PreBlur()(image).dtype == torch.bfloat16, "what a product alone does"
    assert torch.equal(found, Preprocessing()(image))


def test_what_is_refused():
    with pytest.raises(InputError, match="circle or rectangle, but got 'square'"):
        Preprocessing("square")
    with pytest.raises(InputError, match="`margin` to be a number of pixels"):
        Preprocessing(margin=-1.0)
    with pytest.raises(InputError, match=r"`margin` to be None .* no vignette, but got 2\.0"):
        Preprocessing(None, 2.0)
    with pytest.raises(InputError, match="`size` to be odd, but got 4"):
        Preprocessing(blur=4)
    with pytest.raises(InputError, match="`s` to be a finite number above 0"):
        Preprocessing(s=0.0)
    with pytest.raises(InputError, match="keeps a pixel, but got 3 x 9: reduce the margin"):
        Preprocessing()(torch.rand(1, 1, 3, 9))
    with pytest.raises(InputError, match="kernel, 5 x 5, but got 4 x 9: choose a smaller"):
        Preprocessing(margin=0)(torch.rand(1, 1, 4, 9))
