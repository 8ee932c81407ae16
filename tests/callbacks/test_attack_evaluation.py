"""Attacks in the predict loop: recorded once an image, gone on with, refused where they must be."""

import json
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from lightning_smooth.attacks import PGD, RandomAttack
from lightning_smooth.callbacks import AttackEvaluation, CertificationCallback
from lightning_smooth.certify import GaussianCertifier
from lightning_smooth.data import Digits
from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.models import SmallConvNet
from lightning_smooth.modules import GaussianAugmentation
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.reading import read_kind, read_records
from lightning_smooth.trainer import SmoothTrainer
from lightning_smooth.transforms import Rotation


def module(seed=0):
    torch.manual_seed(seed)
    return GaussianAugmentation(SmallConvNet(1, 8, padding=1), 0.25)


def trainer(folder, *callbacks, kind=SmoothTrainer):
    return kind(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=str(folder), callbacks=list(callbacks),
    )  # fmt: skip


def attacked(folder, attack=None, limit=6, seed=0, **settings):
    callback = AttackEvaluation(attack or PGD(0.1, steps=2), **settings)
    outcomes = trainer(folder, callback).attack(module(seed), Digits(limit=limit))
    return callback, outcomes


def test_outcomes_are_those_of_the_attack_itself(tmp_path):
    _, outcomes = attacked(tmp_path, images=4)
    data = Digits(limit=6)
    data.prepare_data()
    data.setup("predict")
    indices = list(data.test_indices())
    items = [data.test_item(index) for index in indices]
    images = torch.stack([item[0] for item in items])
    labels = torch.tensor([int(item[1]) for item in items])
    own = PGD(0.1, steps=2)(module().model, images, labels, indices=indices)
    assert [o.index for o in outcomes] == indices
    for one, other in zip(outcomes, own, strict=True):
        assert (one.predicted, one.distance, one.queries) == (
            other.predicted, other.distance, other.queries,
        )  # fmt: skip


def test_records_say_what_attacked_what(tmp_path):
    _, outcomes = attacked(tmp_path, name="a name")
    content = read_kind(tmp_path / "attack.jsonl", AttackOutcome)
    assert content.results == outcomes
    assert content.header["kind"] == "outcomes"
    assert content.header["name"] == "a name"
    assert content.header["attack"]["method"] == "PGD"
    assert content.header["data"]["name"] == "digits"
    with pytest.raises(RecordError, match="holds outcomes, not certificates"):
        read_records(tmp_path / "attack.jsonl")
    figures = json.loads((tmp_path / "summary.json").read_text())["attack"]
    assert figures["images"] == 6
    assert figures["clean_accuracy"] == sum(o.clean == o.label for o in outcomes) / 6


def test_what_is_recorded_is_not_attacked_again(tmp_path):
    attacked(tmp_path, limit=4)
    path = tmp_path / "attack.jsonl"
    header, *lines = path.read_text().splitlines()
    first = json.loads(lines[0])
    first["queries"] = 12345
    path.write_text("\n".join([header, json.dumps(first), *lines[2:]]) + "\n")
    _, outcomes = attacked(tmp_path, limit=4)
    assert [o.queries for o in outcomes].count(12345) == 1
    assert len(outcomes) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [({"attack": PGD(0.2, steps=2)}, "attack.bound: 0.1 in the records, 0.2 now"),
     ({"seed": 1}, "model.weights")],
)  # fmt: skip
def test_other_attacks_and_other_models_have_records_of_their_own(tmp_path, change, said):
    attacked(tmp_path, limit=4)
    with pytest.raises(RecordError, match=r"--attacking\.records") as caught:
        attacked(tmp_path, limit=4, **change)
    assert said in str(caught.value)
    _, outcomes = attacked(tmp_path, limit=4, records="other.jsonl", **change)
    assert len(outcomes) == 4


def test_attacks_on_parameters_are_recorded_too(tmp_path):
    attack = RandomAttack(Rotation(), {"angle": (-30.0, 30.0)}, k=3)
    _, outcomes = attacked(tmp_path, attack)
    assert all(set(o.theta) == {"angle"} and o.tried == 3 for o in outcomes)


def test_gradients_come_in_a_loop_of_inference_mode(tmp_path):
    callback = AttackEvaluation(PGD(0.3, steps=3))
    plain = trainer(tmp_path, callback, kind=pl.Trainer)
    plain.predict(module(), datamodule=Digits(limit=4), return_predictions=False)
    assert max(o.distance for o in callback.results) > 0.1


def test_a_plain_trainer_measures_one_thing(tmp_path):
    both = AttackEvaluation(PGD(0.1)), CertificationCallback(GaussianCertifier(0.25, n=10))
    with pytest.raises(InputError, match="SmoothTrainer"):
        trainer(tmp_path, *both, kind=pl.Trainer).predict(module(), datamodule=Digits(limit=2))


def test_each_verb_has_its_own_callback(tmp_path):
    both = AttackEvaluation(PGD(0.1, steps=1)), CertificationCallback(GaussianCertifier(0.25, n=10))
    smooth = trainer(tmp_path, *both)
    smooth.attack(module(), Digits(limit=2))
    assert sorted(p.name for p in Path(tmp_path).glob("*.jsonl")) == ["attack.jsonl"]
    smooth.certify(module(), Digits(limit=2))
    assert sorted(p.name for p in Path(tmp_path).glob("*.jsonl")) == [
        "attack.jsonl", "records.jsonl",
    ]  # fmt: skip
    with pytest.raises(InputError, match="Expected one AttackEvaluation"):
        trainer(tmp_path).attack(module(), Digits(limit=2))


@pytest.mark.parametrize("records", ["attack.json", "a/b.jsonl"])
def test_records_are_a_file_name(records):
    with pytest.raises(InputError, match="records"):
        AttackEvaluation(PGD(0.1), records=records)
