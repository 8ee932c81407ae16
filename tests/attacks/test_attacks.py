"""What attacks find: against plain loops, and against smoothed classifiers in closed form."""

import dataclasses
import json
import math

import pytest
import torch
from scipy.stats import norm
from torch import nn
from torch.nn.functional import cross_entropy

from lightning_smooth.attacks import (
    AttackOutcome,
    BaseSearch,
    GridAttack,
    ParameterAttack,
    RandomAttack,
    SmoothedSearch,
)
from lightning_smooth.certify import ResolvableCertifier
from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.maths.laws import GaussianLaw
from lightning_smooth.transforms import Brightness, GaussianBlur, IntegerTranslation, Transform
from lightning_smooth.types import ABSTAIN


def network(seed=0, classes=4, size=6):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(size * size, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, classes)
    ).double()


def batch(count=7, size=6):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 1, size, size, generator=generator, dtype=torch.float64)
    return images, torch.randint(4, (count,), generator=generator)


BOX = {"dx": (-3, 3), "dy": (-2, 2)}


def plain(outcome):
    return dataclasses.replace(outcome, seconds=0.0)


@torch.no_grad()
def test_the_worst_is_that_of_a_plain_loop():
    model, (images, labels) = network().eval(), batch()
    attack = RandomAttack(IntegerTranslation("zero"), BOX, k=150, seed=2)
    outcomes = attack(model, images, labels, indices=range(10, 17))
    for place, found in enumerate(outcomes):
        theta = attack._parameters(10 + place)
        scores = model(attack.transform(images[place][None], theta))
        losses = cross_entropy(scores, labels[place].repeat(150), reduction="none")
        worst = int(losses.argmax())
        assert found.theta == dict(zip(("dx", "dy"), theta[worst].tolist(), strict=True))
        assert found.loss == pytest.approx(float(losses[worst]), rel=1e-12)
        # judged where it was attacked
        assert found.predicted == int(scores[worst].argmax())
        assert found.clean == int(model(images[place][None]).argmax())
        assert found.wrong == int((scores.argmax(dim=1) != labels[place]).sum())
        assert (found.index, found.label, found.tried) == (10 + place, int(labels[place]), 150)
        assert (found.method, found.seed, found.parameters["k"]) == ("random", 2, 150)
    assert len({(o.clean == o.label, o.withstood) for o in outcomes}) > 1


class Mean(nn.Module):
    """Class 1 where the mean is above a threshold; the score is steep or flat."""

    def __init__(self, threshold, slope=1.0):
        super().__init__()
        self.threshold, self.slope = threshold, slope

    def forward(self, x):
        score = self.slope * (x.mean(dim=(1, 2, 3)) - self.threshold)
        return torch.stack([-score, score], dim=1)


def test_success_is_judged_on_the_attacked_image():
    image, attack = torch.full((1, 1, 4, 4), 0.5), {"brightness": (-0.2, 0.0)}
    (broken,) = GridAttack(Brightness(), attack, 3)(
        Mean(0.4), image, torch.tensor([1]), indices=[0]
    )
    assert (broken.clean, broken.predicted, broken.theta) == (1, 0, {"brightness": -0.2})
    assert (broken.broken, broken.withstood, broken.wrong) == (True, False, 1)
    (held,) = GridAttack(Brightness(), attack, 3)(Mean(0.2), image, torch.tensor([1]), indices=[0])
    assert (held.clean, held.predicted, held.theta) == (1, 1, {"brightness": -0.2})
    assert (held.broken, held.withstood, held.wrong) == (False, True, 0)


def test_of_equal_losses_the_first_is_kept():
    attack = RandomAttack(Brightness(), {"brightness": (0, 1)}, k=9)
    image = torch.full((1, 1, 4, 4), 0.5)
    (found,) = attack(Mean(0.4, slope=0.0), image, torch.tensor([0]), indices=[3])
    assert found.theta["brightness"] == float(attack._parameters(3)[0])
    assert found.loss == pytest.approx(math.log(2))


@pytest.mark.parametrize("batch_size", [1, 13, 128])
def test_neither_batch_nor_order_matters(batch_size):
    model, (images, labels) = network(), batch()
    attack = RandomAttack(IntegerTranslation(), BOX, k=40)
    outcomes = attack(model, images, labels, indices=range(7))
    other = RandomAttack(IntegerTranslation(), BOX, k=40, search=BaseSearch(batch_size))
    order = torch.tensor([5, 0, 6, 2])
    for place, found in zip(
        order, other(model, images[order], labels[order], indices=order.tolist()), strict=True
    ):
        expected = plain(outcomes[place])
        assert found.loss == pytest.approx(expected.loss, rel=1e-12)
        assert plain(dataclasses.replace(found, loss=expected.loss)) == expected


def test_a_model_s_modes_are_put_back_and_it_gathers_no_gradients():
    model, (images, labels) = network().train(), batch()
    seen = []
    model.register_forward_hook(lambda m, i, out: seen.append((m.training, out.requires_grad)))
    RandomAttack(IntegerTranslation(), BOX, k=3)(model, images, labels, indices=range(7))
    assert set(seen) == {(False, False)}
    assert model.training
    assert model[3].training


def test_attacked_images_are_made_in_float32_whatever_the_model_s_arithmetic():
    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.images = nn.Linear(1, 2), []

        def forward(self, x):
            self.images.append(x.clone())
            return self.layer(x.mean(dim=(1, 2, 3))[:, None])

    image, seen = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)), {}
    for precision in ("float32", "bf16"):
        model = Seen()
        search = BaseSearch(batch_size=64, precision=precision)
        attack = GridAttack(GaussianBlur(), {"variance": (0.0, 4.0)}, 9, search)
        attack(model, image, torch.tensor([0]), indices=[0])
        seen[precision] = max(model.images, key=len)
    assert len(seen["bf16"]) == 10
    assert torch.equal(seen["float32"], seen["bf16"])


SIGMA = 0.2


def smoothed(n=2000, n_rank=50, seed=0, alpha=0.001):
    certifier = ResolvableCertifier(
        Brightness(), {"brightness": GaussianLaw(SIGMA)}, n=n, alpha=alpha, seed=seed
    )
    return SmoothedSearch(certifier, n_rank=n_rank)


def test_a_smoothed_classifier_is_attacked_where_its_own_probability_is_least():
    # g of [mean + b > t] under brightness noise: probability CDF((mean + attack - t) / sigma)
    image, label = torch.full((1, 1, 4, 4), 0.5), torch.tensor([1])
    model = Mean(0.3)
    for low, answer in ((-0.15, 1), (-0.25, 0)):
        attack = GridAttack(Brightness(), {"brightness": (low, 0.1)}, 6, smoothed(n_rank=400))
        (found,) = attack(model, image, label, indices=[4])
        assert found.theta["brightness"] == low
        assert (found.clean, found.predicted) == (1, answer)
        assert (found.broken, found.withstood) == (answer == 0, answer == 1)
        p, spread = norm.cdf((0.2 + low) / SIGMA), 4 * math.sqrt(0.25 / 400)
        assert abs(math.exp(-found.loss) - p) < spread


def test_an_attack_to_the_boundary_is_an_abstention_and_no_success():
    image, label = torch.full((1, 1, 4, 4), 0.5), torch.tensor([1])
    attack = GridAttack(Brightness(), {"brightness": (-0.2, -0.2)}, 2, smoothed(n=300))
    found = [attack(Mean(0.3), image, label, indices=[i])[0] for i in range(20)]
    assert sum(o.abstained for o in found) >= 19  # each answers with probability 0.001
    assert all(o.predicted == ABSTAIN and not o.broken for o in found if o.abstained)
    assert not any(o.withstood for o in found if o.abstained)


def test_attacked_images_beyond_one_are_judged_too():
    image, label = torch.full((1, 1, 4, 4), 0.9), torch.tensor([0])
    attack = GridAttack(Brightness(), {"brightness": (0.0, 0.5)}, 2, smoothed())
    (found,) = attack(Mean(1.15), image, label, indices=[0])
    assert (found.clean, found.predicted, found.theta["brightness"]) == (0, 1, 0.5)


def test_the_answer_without_attack_is_the_certifier_s_own():
    search, image = smoothed(n=150, seed=3), torch.full((1, 1, 4, 4), 0.5)
    attack = GridAttack(Brightness(), {"brightness": (0, 0)}, 2, search)
    answers = set()
    for index in range(30):
        (found,) = attack(Mean(0.44), image, torch.tensor([1]), indices=[index])
        own = search.certifier.predict(Mean(0.44), image[0], index=index)
        assert found.clean == own.predicted
        answers.add(own.predicted)
    assert answers == {ABSTAIN, 1}


@pytest.mark.parametrize(("n_rank", "blocks"), [(50, 1), (128, 1), (200, 2)])
def test_no_two_candidates_share_a_draw_nor_one_with_the_verdict(n_rank, blocks):
    search, drawn = smoothed(n=100, n_rank=n_rank), []
    block = search.certifier.law.block

    def spy(key, number, shape, device, *, draws=128):
        drawn.append((key.stream, key.seed, key.index, number))
        return block(key, number, shape, device, draws=draws)

    search.certifier.law.block = spy
    attack = RandomAttack(Brightness(), {"brightness": (-0.1, 0.1)}, k=7, seed=9, search=search)
    attack(Mean(0.3), torch.full((2, 1, 4, 4), 0.5), torch.tensor([1, 1]), indices=[4, 8])
    ranking = [place for place in drawn if place[0] == "attack ranking"]
    assert set(ranking) == {
        ("attack ranking", 9, i, number) for i in (4, 8) for number in range(7 * blocks)
    }
    assert len(ranking) == len(set(ranking))
    others = {place for place in drawn if place[0] != "attack ranking"}
    assert others == {(s, seed, i, 0) for s, seed in (("prediction", 0), ("attack verdict", 9))
                      for i in (4, 8)}  # fmt: skip


def test_smoothed_outcomes_depend_neither_on_batch_nor_on_order():
    model, (images, labels) = network(), batch()
    certifier = ResolvableCertifier(Brightness(), {"brightness": GaussianLaw(SIGMA)}, n=200)
    box = {"brightness": (-0.5, 0.5)}

    def attack(size):
        certifier.batch_size = size
        return RandomAttack(Brightness(), box, k=10, search=SmoothedSearch(certifier))

    outcomes = attack(100)(model, images, labels, indices=range(7))
    for place in (6, 2):
        (alone,) = attack(33)(model, images[[place]], labels[[place]], indices=[place])
        assert plain(alone) == plain(outcomes[place])


def test_outcomes_go_to_a_line_and_back():
    model, (images, labels) = network(), batch()
    for search in (BaseSearch(), smoothed(n=50)):
        attack = RandomAttack(IntegerTranslation(), BOX, k=3, search=search)
        for found in attack(model, images, labels, indices=range(7)):
            line = found.to_json()
            assert "\n" not in line
            assert AttackOutcome.from_json(line) == dataclasses.replace(
                found, parameters=json.loads(json.dumps(found.parameters))
            )


@pytest.mark.parametrize(
    "change",
    [
        {"label": "3"},
        {"predicted": 1.0},
        {"theta": [1.0]},
        {"theta": {"dx": "far"}},
        {"loss": None},
        {"wrong": 5},
        {"more": 1},
    ],
)
def test_damaged_lines_are_refused(change):
    model, (images, labels) = network(), batch(1)
    attack = RandomAttack(IntegerTranslation(), BOX, k=3)
    fields = json.loads(attack(model, images, labels, indices=[0])[0].to_json())
    AttackOutcome.from_json(json.dumps(fields))
    with pytest.raises(RecordError):
        AttackOutcome.from_json(json.dumps({**fields, **change}))
    del fields["theta"]
    for line in (json.dumps(fields), "{", "[]"):
        with pytest.raises(RecordError):
            AttackOutcome.from_json(line)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": torch.zeros(1, 6, 6)}, "`images`"),
        ({"images": torch.full((1, 1, 6, 6), 1.5)}, r"\[0, 1\]"),
        ({"labels": torch.tensor([1, 2])}, "label"),
        ({"labels": torch.tensor([1.0])}, "integer label"),
        ({"labels": torch.tensor([4])}, "0..3"),
        ({"labels": torch.tensor([-1])}, "`labels`"),
        ({"indices": [-1]}, "`indices`"),
        ({"indices": [1, 2]}, "index"),
    ],
)
@pytest.mark.parametrize("search", [BaseSearch(), smoothed(n=50)])
def test_what_comes_in_is_checked(change, words, search):
    given = {"images": torch.zeros(1, 1, 6, 6), "labels": torch.tensor([1]), "indices": [0]}
    given |= change
    attack = RandomAttack(IntegerTranslation(), BOX, k=3, search=search)
    with pytest.raises(InputError, match=words):
        attack(network().float(), given["images"], given["labels"], indices=given["indices"])


def test_scores_that_are_not_finite_are_refused():
    model, (images, labels) = network(), batch()
    model[4].bias.data[0] = torch.nan
    with pytest.raises(InputError, match="no finite scores"):
        RandomAttack(IntegerTranslation(), BOX, k=3)(model, images, labels, indices=range(7))


def test_an_attack_of_one_s_own_is_one_method():
    class Far(ParameterAttack):
        """The end of the range alone."""

        method = "far"

        def __init__(self, transform: Transform) -> None:
            super().__init__(transform, seed=0, search=None)

        def _parameters(self, index):
            return self.transform.theta(brightness=[-0.2 if index == 0 else -9.0])

        def _settings(self):
            return {}

    image = torch.full((2, 1, 4, 4), 0.5)
    near, far = Far(Brightness())(Mean(0.2), image, torch.tensor([1, 1]), indices=[0, 1])
    assert (near.predicted, far.predicted, far.method) == (1, 0, "far")


def test_parameters_that_are_not_allowed_are_refused():
    class Below(GridAttack):
        def _parameters(self, index):
            return super()._parameters(index) - 1

    images, labels = batch(1)
    attack = Below(GaussianBlur(), {"variance": (0, 1)}, 3)
    with pytest.raises(InputError, match="at least 0"):
        attack(network(), images, labels, indices=[0])


def test_no_images_are_no_outcomes():
    attack = RandomAttack(Brightness(), {"brightness": (0, 1)})
    assert attack(Mean(0.2), torch.zeros(0, 1, 4, 4), torch.zeros(0).long(), indices=[]) == []
