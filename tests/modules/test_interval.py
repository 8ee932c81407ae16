"""Training with interval bounds: the loss by hand, its schedule, and that bounds tighten."""

import math
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightning_smooth.__main__ import main
from lightning_smooth.data import Digits, fakes
from lightning_smooth.errors import InputError
from lightning_smooth.modules import IntervalTraining

ROOT = Path(__file__).parents[2]


def linear(pixels=4, classes=3):
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))
    model[1].weight.data = torch.randn(classes, pixels, generator=generator)
    return model


def batch():
    generator = torch.Generator().manual_seed(1)
    return 0.3 + 0.4 * torch.rand(5, 1, 2, 2, generator=generator), torch.tensor([0, 1, 2, 0, 1])


def test_the_loss_is_that_of_the_worst_scores():
    """Of a linear model: each margin falls by eps times the l1 norm of its weights."""
    model, (images, labels) = linear(), batch()
    module = IntervalTraining(model, 0.1, kappa=0.3)
    loss, logits = module.loss(images, labels, torch.Generator())
    expected = 0.0
    with torch.no_grad():
        scores, weight = model(images).tolist(), model[1].weight
        for row, label in zip(scores, labels.tolist(), strict=True):
            for part, eps in ((0.3, 0.0), (0.7, 0.1)):
                total = sum(
                    math.exp(z - row[label] + eps * float((weight[label] - weight[k]).abs().sum()))
                    for k, z in enumerate(row)
                )
                expected += part * math.log(total) / len(labels)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    assert torch.equal(logits, model(images))
    loss.backward()
    assert float(model[1].weight.grad.abs().sum()) > 0


def test_boxes_are_clipped_to_images():
    model, labels = linear(), torch.tensor([0])
    module = IntervalTraining(model, 0.5)
    white = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    difference = (model[1].weight[0] - model[1].weight[1:]).detach()
    scores = model(white.float()).detach()[0]
    falls = 0.5 * difference.clamp(min=0).sum(dim=1)  # pixels can but get darker
    expected = (scores[0] - scores[1:] - falls).double()
    found = module.margins(*module.boxes(white, 1.0, None)[1:], labels).detach()[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_the_box_grows_after_the_warmup():
    module = IntervalTraining(linear(), 0.2, kappa=0.5, warmup_epochs=1, ramp_epochs=2)
    expected = [(0.0, 1.0), (0.0, 1.0), (0.25, 0.875), (1.0, 0.5), (1.0, 0.5)]
    assert [module.schedule(e) for e in (0, 1, 1.5, 3, 10)] == expected
    at_once = IntervalTraining(linear(), 0.2, warmup_epochs=0, ramp_epochs=0)
    assert at_once.schedule(0) == (0.0, 1.0)
    assert at_once.schedule(0.01) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"eps": 0}, "`eps`"), ({"kappa": 1.5}, "`kappa` to be at most 1"),
     ({"ramp_epochs": -1}, "`ramp_epochs`")],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        IntervalTraining(linear(), **{"eps": 0.1, **settings})


def test_training_brings_bounds_together():
    pl.seed_everything(0, verbose=False)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10)
    )
    module = IntervalTraining(
        model, 0.05, warmup_epochs=1, ramp_epochs=2,
        optimizer=lambda params: torch.optim.Adam(params, lr=0.01),
    )  # fmt: skip
    data = Digits(batch_size=64)
    trainer = pl.Trainer(
        max_epochs=6, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, data)
    (figures,) = trainer.test(module, data, verbose=False)
    assert figures["test/clean_accuracy"] > 0.85
    assert 0.5 < figures["test/verified_accuracy"] < figures["test/clean_accuracy"]


def test_the_experiment_trains_a_batch_and_is_tested(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    root, out = tmp_path / "data", tmp_path / "run"
    fakes.write_mnist(root)
    with fakes.fake_mnist(root):
        shared = [
            f"--data.root={root}", "--data.batch_size=8", "--data.eval_batch_size=8",
            "--data.val_size=8", "--data.download=false", "--trainer.accelerator=cpu",
            f"--output.folder={out}", "--trainer.enable_progress_bar=false",
        ]  # fmt: skip
        few = ["--trainer.limit_train_batches=2", "--trainer.max_epochs=1"]
        assert main(["fit", "--config=configs/mnist_interval.yaml", *shared, *few]) == 0
        assert main(["test", f"--config={out / 'config.yaml'}", *shared]) == 0
    assert "test/verified_accuracy" in capsys.readouterr().out
