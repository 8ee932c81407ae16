"""Test images that were attacked already: which, by what, and that everybody is told."""

from __future__ import annotations

import pickle

import pytest
import torch

from lightning_smooth.attacks import RandomAttack
from lightning_smooth.data import Digits, StoredAttack
from lightning_smooth.errors import InputError
from lightning_smooth.transforms import Brightness, Rotation

ATTACK = StoredAttack(Rotation(), {"angle": (-10.0, 10.0)}, seed=3)


def test_each_test_image_is_transformed_by_its_own_angle_and_stored_in_bytes():
    plain, data = Digits(limit=40), Digits(limit=40, attack=ATTACK)
    (clean, labels, indices), (seen, same, places) = (
        next(iter(d.predict_dataloader())) for d in (plain, data)
    )
    assert torch.equal(labels, same)
    assert torch.equal(indices, places)
    angles = torch.stack([ATTACK.theta(int(index)) for index in indices])
    assert float(angles.min()) < -5
    assert float(angles.max()) > 5
    assert float(angles.abs().max()) <= 10
    moved = Rotation()(clean.double(), angles)
    assert float((seen * 255 - (seen * 255).round()).abs().max()) < 1e-4
    assert float((seen - moved).abs().max()) <= 0.5 / 255 + 1e-6
    assert float((seen - clean).abs().max()) > 0.1
    image, label = data.test_item(5)
    assert torch.equal(image, seen[5])
    assert label == int(labels[5])


def test_batches_and_processes_do_not_matter():
    few, many = (
        Digits(limit=12, eval_batch_size=size, num_workers=workers, attack=ATTACK)
        for size, workers in ((5, 0), (12, 1))
    )
    one, other = (torch.cat([b[0] for b in d.test_dataloader()]) for d in (few, many))
    assert torch.equal(one, other)
    assert torch.equal(pickle.loads(pickle.dumps(ATTACK)).theta(7), ATTACK.theta(7))


def test_training_images_are_left_alone():
    plain, data = Digits(), Digits(attack=ATTACK)
    one, other = (next(iter(d.val_dataloader()))[0] for d in (plain, data))
    assert torch.equal(one, other)


def test_the_fingerprint_says_so():
    plain = Digits().fingerprint()
    found = Digits(attack=ATTACK).fingerprint()
    assert found["attack"] == "StoredAttack(Rotation(), angle -10 to 10, seed=3)"
    other = Digits(attack=StoredAttack(Rotation(), {"angle": (-10.0, 10.0)})).fingerprint()
    assert len({plain["digest"], found["digest"], other["digest"]}) == 3
    assert "attack" not in plain


def test_it_is_the_first_attack_that_a_random_search_tries():
    attack = RandomAttack(Rotation(), {"angle": (-10.0, 10.0)}, k=5, seed=3)
    assert torch.equal(attack._parameters(9)[0], ATTACK.theta(9))


def test_what_leaves_the_range_is_clipped():
    bright = StoredAttack(Brightness(), {"brightness": (0.8, 0.9)})
    seen, *_ = next(iter(Digits(limit=4, attack=bright).predict_dataloader()))
    assert float(seen.max()) == 1.0
    assert float(seen.min()) >= 0.8 - 0.5 / 255


def test_a_box_that_does_not_fit_is_refused():
    with pytest.raises(InputError):
        StoredAttack(Rotation(), {"dx": (-1.0, 1.0)})
    with pytest.raises(InputError):
        StoredAttack(Rotation(), {"angle": (-1.0, 1.0)}, seed=-1)
