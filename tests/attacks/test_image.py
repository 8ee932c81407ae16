"""What all attacks on pixels promise: legal points, independence of the batch, models put back."""

import pytest
import torch
from torch import nn

from lightning_smooth.attacks import (
    FGSM,
    PGD,
    AttackOutcome,
    CarliniWagner,
    DeepFool,
    HopSkipJump,
    RandomNoise,
    Square,
)  # fmt: skip
from lightning_smooth.errors import InputError
from tests.attacks.images import Coin, Linear, Rejecting, answered, network, pictures, run

ATTACKS = [
    FGSM(0.05),
    PGD(0.05, steps=5, restarts=2),
    PGD(0.2, "l2", steps=5, momentum=0.9),
    PGD(0.5, "l1", steps=5, loss="margin"),
    CarliniWagner(steps=30, searches=3),
    CarliniWagner(0.2, steps=30, searches=3),
    DeepFool(),
    DeepFool(0.05, norm="linf"),
    Square(0.05, queries=40),
    Square(0.2, "l2", queries=40),
    RandomNoise(0.05, draws=10),
    RandomNoise(0.5, "l1", draws=10),
    HopSkipJump(queries=150, draws=10),
    HopSkipJump(0.05, norm="linf", queries=150, draws=10),
]
NAMES = [f"{a.method} {a.norm} {a.bound}" for a in ATTACKS]


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_outcomes_do_not_depend_on_batch_or_order(attack):
    model, images = network(), pictures(9)
    labels = answered(model, images)
    whole = attack.attacked(model, images, labels, indices=range(9))
    order = [7, 2, 5]
    some = attack.attacked(model, images[order], labels[order], indices=order)
    torch.testing.assert_close(some.clipped, whole.clipped[order], rtol=0, atol=1e-6)
    assert torch.equal(some.queries, whole.queries[order])
    assert torch.equal(some.success, whole.success[order])


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_points_are_legal_judged_there_and_counted(attack):
    asked = []

    class Counting(nn.Sequential):
        def forward(self, x):
            asked.append(len(x))
            return super().forward(x)

    model, images = Counting(*network()), pictures(8, low=0.0, high=1.0)
    labels = answered(model, images)
    asked.clear()
    outcomes = attack(model, images, labels, indices=range(8))
    found = attack.attacked(model, images, labels, indices=range(8))
    total = sum(asked)
    assert float(found.clipped.min()) >= 0
    assert float(found.clipped.max()) <= 1
    assert torch.equal(found.success, answered(model, found.clipped) != labels)
    for row, outcome in enumerate(outcomes):
        assert outcome.predicted == int(answered(model, found.clipped)[row])
        assert outcome.distance == float(found.norm[row])
        assert outcome.queries == int(found.queries[row])
        assert attack.bound is None or outcome.distance <= attack.bound
        assert AttackOutcome.from_json(outcome.to_json()) == outcome
    search = int(found.queries.sum())
    others = 8 * (2 + found.tried) + 2  # the judge's passes, and a look at the memory format
    assert 2 * search <= total <= 2 * (search + others)


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_an_attack_can_be_run_again(attack):
    model, images = network(), pictures(4)
    torch.manual_seed(1)
    first = run(attack, model, images)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = run(attack, model, images)
    assert torch.equal(first.clipped, second.clipped)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_images_that_are_wrong_already_stay_wrong(attack):
    model, images = network(), pictures(12)
    labels = (answered(model, images) + 1) % 4
    found = run(attack, model, images, labels)
    assert bool(found.success.all())


@pytest.mark.parametrize("surroundings", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize(
    "attack", ATTACKS[1:2] + ATTACKS[4:5] + ATTACKS[6:7], ids=lambda a: a.method
)
def test_whatever_surrounds_an_attack_and_everything_is_put_back(attack, surroundings):
    model, images = network(), pictures(4)
    labels = answered(model, images)
    expected = attack.attacked(model, images, labels, indices=range(4))
    model.train()
    model[0].eval()
    model[0].weight.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with surroundings(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = attack.attacked(model, images.clone(), labels.clone(), indices=range(4))
    assert torch.equal(found.clipped, expected.clipped)
    assert [m.training for m in model] == [False, True, True, True]
    learning = {name: p.requires_grad for name, p in model.named_parameters()}
    assert learning == {"0.weight": False, "0.bias": True, "3.weight": True, "3.bias": True}
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_model_is_put_back_after_an_error():
    class Broken(Linear):
        def forward(self, x):
            if x.requires_grad:
                raise RuntimeError("on purpose")
            return super().forward(x)

    model = Broken().train()
    with pytest.raises(RuntimeError, match="on purpose"):
        run(PGD(0.1), model, pictures())
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_a_bound_for_each_image():
    model, images = network(), pictures(5)
    bounds = torch.tensor([0.0, 0.01, 0.02, 0.1, 0.2])
    found = PGD(0.5).attacked(
        model, images, answered(model, images), indices=range(5), bounds=bounds
    )
    assert bool((found.norm <= bounds.double()).all())
    assert bool((found.norm >= 0.99 * bounds).all())
    for wrong in (bounds[:4], -bounds, bounds / 0):
        with pytest.raises(InputError, match="bounds"):
            PGD(0.5).attacked(
                model, images, answered(model, images), indices=range(5), bounds=wrong
            )


def test_a_rejection_does_not_break_and_is_no_answer():
    """The linear model alone falls; where images may not get brighter, less of it does."""
    inner = Linear(seed=4)
    images = pictures(20)
    labels = answered(inner, images)
    free = run(PGD(0.1, steps=10), inner, images, labels)
    model = Rejecting(inner, most=float(images.mean()))
    found = run(PGD(0.1, steps=10), model, images, labels)
    rejected = found.verdict.predicted == -1
    assert 0 < int(rejected.sum()) < 20
    assert not bool((found.success & rejected).any())
    assert torch.equal(found.success, free.success & ~rejected)
    outcomes = PGD(0.1, steps=10)(model, images, labels, indices=range(20))
    assert [o.abstained for o in outcomes] == rejected.tolist()
    assert [o.broken for o in outcomes] == found.success.tolist()


def test_the_seed_of_a_model_that_draws():
    model, images, labels = Coin(0.5), pictures(10), torch.zeros(10).long()
    made = [PGD(0.1, steps=1, seed=s, shattered=True)(model, images, labels, indices=range(10))
            for s in (0, 0, 1)]  # fmt: skip
    misses = [[o.misses for o in outcomes] for outcomes in made]
    assert misses[0] == misses[1] != misses[2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: {**a, "images": a["images"] + 1}, r"in \[0, 1\]"),
        (lambda a: {**a, "images": a["images"] - 1}, r"in \[0, 1\]"),
        (lambda a: {**a, "images": a["images"] * torch.nan}, "NaN"),
        (lambda a: {**a, "images": a["images"][0]}, "shape"),
        (lambda a: {**a, "images": (a["images"] * 255).to(torch.uint8)}, "floating point"),
        (lambda a: {**a, "labels": a["labels"][:2]}, "label"),
        (lambda a: {**a, "labels": a["labels"].double()}, "integer"),
        (lambda a: {**a, "labels": a["labels"] + 9}, "label"),
        (lambda a: {**a, "labels": a["labels"] - 9}, "labels"),
        (lambda a: {**a, "indices": [0, 1]}, "ind"),
        (lambda a: {**a, "indices": [0, 1, 2, -1]}, "indices"),
        (lambda a: {**a, "model": nn.Flatten(0)}, "scores"),
    ],
)
@pytest.mark.parametrize("attack", [PGD(0.1, steps=2), Square(0.1, queries=3), DeepFool()])
def test_what_is_not_an_attackable_input(change, said, attack):
    given = change(
        {"model": network(), "images": pictures(4), "labels": torch.zeros(4).long(),
         "indices": range(4)}
    )  # fmt: skip
    with pytest.raises(InputError, match=said):
        attack(given["model"], given["images"], given["labels"], indices=given["indices"])


def test_no_images_have_no_outcomes():
    assert PGD(0.1)(network(), pictures(0), torch.zeros(0).long(), indices=[]) == []


def test_an_attack_says_what_it_is():
    text = repr(Square(0.1, queries=7))
    assert text.startswith("Square(bound=0.1, norm='linf', queries=7")
