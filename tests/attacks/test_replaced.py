"""BPDA's rules: modules run as they are, go back as others, and are put back."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from lightning_smooth.attacks.replaced import replaced
from lightning_smooth.errors import InputError
from tests.attacks.images import Linear, Steps, pictures, quantised


class Square(nn.Module):
    def forward(self, x):
        return x**2


def slope_of(model, images):
    leaf = images.clone().requires_grad_()
    scores = model(leaf)
    (slope,) = torch.autograd.grad(scores[:, 0].sum(), leaf)
    return scores.detach(), slope


def test_forward_is_the_real_module_and_backward_the_identity():
    model, images = quantised(), pictures()
    with replaced({"steps": "identity"}).installed(model):
        scores, slope = slope_of(model, images)
    assert torch.equal(scores, model(images).detach())
    expected = model.head.weight[0].detach().reshape(1, 1, 4, 4).expand(6, -1, -1, -1)
    torch.testing.assert_close(slope, expected)


def test_backward_through_a_module_is_its_own_derivative():
    model, images = quantised(), pictures()
    with replaced({"steps": Square()}).installed(model):
        scores, slope = slope_of(model, images)
    assert torch.equal(scores, model(images).detach())
    weight = model.head.weight[0].detach().reshape(1, 1, 4, 4)
    torch.testing.assert_close(slope, weight * 2 * images)


def test_the_whole_model_and_nested_rules():
    images = pictures()
    model = nn.Sequential(OrderedDict(outer=nn.Sequential(Steps(), Steps(4)), head=Linear()))
    with replaced({"outer.0": "identity", "outer.1": Square()}).installed(model):
        scores, slope = slope_of(model, images)
    assert torch.equal(scores, model(images).detach())
    weight = model.head.weight[0].detach().reshape(1, 1, 4, 4)
    torch.testing.assert_close(slope, weight * 2 * Steps()(images))
    with replaced({"": Linear(seed=3)}).installed(model):
        scores, slope = slope_of(model, images)
    assert torch.equal(scores, model(images).detach())
    torch.testing.assert_close(slope[0].flatten(), Linear(seed=3).weight[0].detach())


def interrupted(rules, model):
    before = model.steps.forward
    with rules.installed(model):
        assert model.steps.forward is not before
        raise RuntimeError("on purpose")


def test_forwards_are_put_back_after_an_error_too():
    model = quantised()
    own = lambda x: x  # noqa: E731
    model.steps.forward = own
    rules = replaced({"steps": "identity", "head": Linear()})
    with pytest.raises(RuntimeError, match="on purpose"):
        interrupted(rules, model)
    assert model.steps.__dict__["forward"] is own
    assert "forward" not in model.head.__dict__


def test_a_name_that_the_model_lacks_lists_those_that_it_has():
    model = quantised()
    with (
        pytest.raises(InputError, match="no 'stepz': it has steps, head"),
        replaced({"stepz": "identity"}).installed(model),
    ):
        pass
    many = nn.Sequential(*(nn.Identity() for _ in range(20)))
    with pytest.raises(InputError, match="and 8 more"), replaced({"x": "identity"}).installed(many):
        pass


@pytest.mark.parametrize(("rules", "said"), [({}, "none"), ({"a": "soft"}, "identity or a module")])
def test_rules_that_are_none(rules, said):
    with pytest.raises(InputError, match=said):
        replaced(rules)


def test_a_stand_in_of_another_shape():
    model = quantised()
    with (
        replaced({"steps": nn.Flatten()}).installed(model),
        pytest.raises(InputError, match=r"its shape \(6, 1, 4, 4\)"),
    ):
        slope_of(model, pictures())


def test_without_gradients_nothing_but_the_module_runs():
    model, calls = quantised(), []

    class Counted(nn.Module):
        def forward(self, x):
            calls.append(1)
            return x

    with replaced({"steps": Counted()}).installed(model), torch.no_grad():
        model(pictures())
    assert not calls
