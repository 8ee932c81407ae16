"""Margins over a Lipschitz constant: radii of linear models, which are known."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from lightning_smooth.certify import LipschitzCertifier
from lightning_smooth.errors import InputError, SoundnessError
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.sharing import Share

ORDER = {"l2": 2, "l1": torch.inf, "linf": 1}
"""Norm -> that of a weight vector which is its Lipschitz constant (the dual norm)."""


def linear(classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, classes)).double()
    weight = torch.randn(classes, 16, generator=generator, dtype=torch.float64)
    model[1].weight.data = weight
    model[1].bias.data = -0.5 * weight.sum(dim=1)
    return model


def constant(model, norm):
    return float(torch.linalg.vector_norm(model[1].weight.data, ORDER[norm], dim=1).max())


def random_image(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 4, 4, generator=generator, dtype=torch.float64)


def plain(certificate):
    return dataclasses.replace(certificate, seconds=0.0)


@pytest.mark.parametrize("norm", ["l2", "l1", "linf"])
def test_the_radius_is_below_the_distance_to_the_boundary(norm):
    model = linear()
    certifier = LipschitzCertifier(constant(model, norm), 1e-12, norm)
    for seed in range(30):
        x = random_image(seed)
        c = certifier(model, x, index=seed)
        scores = model(x[None])[0].detach()
        top = int(scores.argmax())
        weight = model[1].weight.data
        # the exact distance to the nearest other class
        exact = min(
            float((scores[top] - scores[k]) / torch.linalg.vector_norm(weight[top] - weight[k],
                                                                       ORDER[norm]))
            for k in range(3) if k != top
        )  # fmt: skip
        assert 0 < c.radius <= exact
        assert (c.predicted, c.radius_unit, c.guarantee) == (top, norm, "certified")


def test_float32_scores_need_their_rounding_stated():
    # 8 (mean - 1/2) for class 1 and its negative: each 2-Lipschitz, the distance 4 (mean - 1/2)
    class Mean(nn.Module):
        def forward(self, x):
            score = 8 * (x.mean(dim=(1, 2, 3)) - 0.5)
            return torch.stack([-score, score], dim=1)

    beyond = 0
    for seed in range(100):
        x = random_image(seed).float()
        exact = 4 * abs(float(x.double().mean()) - 0.5)
        beyond += LipschitzCertifier(2.0, 0.0)(Mean(), x, index=0).radius > exact
        stated = LipschitzCertifier(2.0, 2.0**-20)(Mean(), x, index=0)
        assert exact - 2.0**-18 < stated.radius <= exact
    assert beyond > 10  # with 0 the computed scores are taken for exact ones, and are not


def test_opposite_scores_have_their_exact_radius():
    model = linear(classes=2)
    model[1].weight.data[1] = -model[1].weight.data[0]
    model[1].bias.data[1] = -model[1].bias.data[0]
    weight = model[1].weight.data[0]
    x = random_image(1)
    score = float(model(x[None])[0].detach().max())
    c = LipschitzCertifier(constant(model, "l2"), 0.0)(model, x, index=0)
    assert c.radius == pytest.approx(score / float(weight.norm()), rel=1e-12)
    # and an attack of a hair more changes the class, of a hair less does not
    way = (weight / weight.norm()).reshape(1, 4, 4) * (1 if c.predicted else -1)
    for factor, stays in ((0.999999, True), (1.000001, False)):
        answer = int(model((x + factor * c.radius * way)[None])[0].argmax())
        assert (answer == c.predicted) is stays


def test_nothing_is_drawn_and_nothing_spent():
    model = linear()
    c = LipschitzCertifier(2.0, 1e-6)(model, random_image(0), index=3, label=1)
    assert (c.n, c.n0, c.hits, c.p_lower, c.alpha, dict(c.ledger)) == (0, 0, 0, 0.0, 0.0, {})
    assert (c.parameters["lipschitz"], c.parameters["rounding"]) == (2.0, 1e-6)
    top, second = sorted(model(random_image(0)[None])[0].tolist(), reverse=True)[:2]
    assert c.measured == {"top": top, "second": second}
    assert c.radius == pytest.approx((top - second - 4e-6) / 4, rel=1e-12)
    assert Certificate.from_json(c.to_json()) == c


def test_scores_nearer_than_rounding_are_an_abstention():
    class Tie(nn.Module):
        def __init__(self, gap):
            super().__init__()
            self.gap = gap

        def forward(self, x):
            return x.new_tensor([[0.0, self.gap]]).expand(len(x), 2)

    for gap, rounding, answer in ((0.0, 0.0, -1), (2**-9, 2**-11, -1), (2**-9, 2**-12, 1)):
        c = LipschitzCertifier(1.0, rounding)(Tie(gap), random_image(0).float(), index=0)
        assert c.predicted == answer
        assert (c.radius > 0) == (answer == 1)


def test_scores_of_zero_are_scores():
    c = LipschitzCertifier(1.0, 0.0)(linear().apply(zeroed), random_image(0), index=0)
    assert (c.predicted, c.measured) == (-1, {"top": 0.0, "second": 0.0})


def zeroed(module):
    for parameter in module.parameters(recurse=False):
        nn.init.zeros_(parameter)


def test_scores_that_are_not_finite_are_refused():
    model = linear()
    model[1].bias.data[0] = torch.nan
    with pytest.raises(InputError, match="no finite scores"):
        LipschitzCertifier(1.0, 0.0)(model, random_image(0), index=0)


def test_scores_too_large_for_records_are_refused():
    model = linear()
    model[1].bias.data[0] = 2.0**63
    with pytest.raises(InputError, match="divide"):
        LipschitzCertifier(1.0, 0.0)(model, random_image(0), index=0)


@pytest.mark.parametrize("batch_size", [1, 3, 128])
def test_batches_change_nothing(batch_size):
    model, images = linear(), [random_image(seed) for seed in range(7)]
    alone = [LipschitzCertifier(3.0, 0.0)(model, x, index=i) for i, x in enumerate(images)]
    together = LipschitzCertifier(3.0, 0.0, batch_size=batch_size).certify_batch(
        model, images, indices=range(7)
    )
    found = {c.index: c for c in together}
    for c in alone:
        assert found[c.index].predicted == c.predicted
        assert found[c.index].radius == pytest.approx(c.radius, rel=1e-12)


def test_a_process_without_a_draw_of_its_own_adds_nothing():
    model, x, sent = linear(), random_image(0), []
    certifier = LipschitzCertifier(1.0, 0.0)

    def certify(rank):
        share = Share(rank, 2, lambda counts: sent.append(counts) or counts)
        return list(certifier.certify_batch(model, [x], indices=[0], share=share))

    with pytest.raises(InputError, match="no finite scores"):
        certify(0)  # its part of one draw is empty, and nothing was added to it
    (c,) = certify(1)
    assert not bool(sent[0].any())
    assert plain(c) == plain(certifier(model, x, index=0))


def test_validation_is_the_same():
    certifier = LipschitzCertifier(2.0, 1e-5, "linf")
    validation = certifier.for_validation(n0=5, n=10)
    assert validation.describe() == certifier.describe()
    assert certifier.describe()["alpha"] == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lipschitz": 0.0}, "`lipschitz`"),
        ({"lipschitz": math.inf}, "`lipschitz`"),
        ({"lipschitz": 1.0, "norm": "l3"}, "`norm`"),
        ({"lipschitz": 1.0, "rounding": -1.0}, "`rounding`"),
        ({"lipschitz": 1.0, "rounding": math.nan}, "`rounding`"),
    ],
)
def test_settings_out_of_range_are_named(settings, words):
    with pytest.raises(InputError, match=words):
        LipschitzCertifier(**{"rounding": 0.0, **settings})


class Cheat(LipschitzCertifier):
    """Claims draws that it never made."""

    def __init__(self, **changes):
        super().__init__(1.0, 0.0)
        self.changes = changes

    def _plan(self, smoothed, image, *, index):
        certificate = yield from super()._plan(smoothed, image, index=index)
        return dataclasses.replace(certificate, **self.changes)


@pytest.mark.parametrize(
    "changes",
    [{"n": 10}, {"p_lower": 0.9}, {"alpha": 0.1}, {"ledger": {"x": 0.0}}, {"predicted": -1}],
)
def test_certificates_that_contradict_themselves_never_leave(changes):
    with pytest.raises(SoundnessError):
        Cheat(**changes)(linear(), random_image(0), index=0)


class Large(nn.Module):
    """Scores size + mean and size, of which bf16 keeps 8 bits."""

    def __init__(self, size):
        super().__init__()
        self.layer = nn.Linear(16, 2)
        self.layer.weight.data = torch.tensor([[1.0] * 16, [0.0] * 16]) / 16
        self.layer.bias.data = torch.tensor([size, size])

    def forward(self, x):
        return self.layer(x.flatten(1))


@pytest.mark.parametrize(("size", "precision"), [(100.0, "bf16"), (1e6, "float32")])
def test_rounding_below_that_of_the_scores_themselves_is_refused(size, precision):
    x = torch.full((1, 4, 4), 0.9)
    with pytest.raises(InputError, match=f"`rounding` to be at least .* in {precision}"):
        LipschitzCertifier(1.0, 1e-3, precision=precision)(Large(size), x, index=3)
    c = LipschitzCertifier(1.0, 1.0, precision=precision)(Large(size), x, index=3)
    assert c.abstained


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_no_rounding_at_all_is_refused_of_coarse_weights(dtype):
    x = torch.full((1, 4, 4), 0.9)
    with pytest.raises(InputError, match="weights are coarser than float32"):
        LipschitzCertifier(1.0, 0.0)(linear().to(dtype), x, index=3)
    c = LipschitzCertifier(1.0, 1.0)(linear().to(dtype), x, index=3)
    assert c.parameters["dtype"] == str(dtype).removeprefix("torch.")


def test_no_rounding_at_all_is_refused_in_bf16():
    with pytest.raises(InputError, match="above 0 in bf16"):
        LipschitzCertifier(1.0, 0.0, precision="bf16")
