"""Training over small boxes of parameters: what is shown lies in its box, which is in the range."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightning_smooth.data import Digits
from lightning_smooth.errors import InputError
from lightning_smooth.modules import ParameterIntervalTraining
from lightning_smooth.transforms import Brightness, Rotation, Translation


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def images(count=6):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("transform", "box", "width"),
    [(Rotation(), {"angle": (-30, 30)}, {"angle": 2.0}),
     (Translation(), {"dx": (-2, 2), "dy": (0, 1)}, {"dx": 0.2, "dy": 0.0})],
)  # fmt: skip
def test_boxes_hold_all_images_of_a_part_of_the_range(transform, box, width, monkeypatch):
    module = ParameterIntervalTraining(network(), transform, box, width, eps=0.01)
    drawn = []
    draw = module._centers.draw
    monkeypatch.setattr(
        module._centers, "draw", lambda *args: drawn.append(draw(*args)) or drawn[-1]
    )
    x, generator = images(), torch.Generator().manual_seed(0)
    shown, lower, upper = module.boxes(x, 1.0, generator)
    center = drawn[0] + transform.identity()
    torch.testing.assert_close(shown, transform(x, center))
    half = torch.tensor([width[name] for name in transform.names], dtype=torch.float64)
    for part in torch.linspace(-1, 1, 21, dtype=torch.float64):
        moved = transform(x, center + part * half)
        assert bool((lower <= moved).all() and (moved <= upper).all())
        ends = torch.tensor(list(box.values()))
        away = center + part * half
        assert bool((away >= ends[:, 0] - 1e-9).all() and (away <= ends[:, 1] + 1e-9).all())
    # A smaller part of the full box is a smaller box, and none is a point.
    less = [b - a for _, a, b in (module.boxes(x, p, torch.Generator().manual_seed(0))
                                  for p in (0.0, 0.5, 1.0))]  # fmt: skip
    assert float(less[0].abs().max()) == 0
    assert 0 < float(less[1].mean()) < float(less[2].mean())


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"transform": Brightness(), "box": {"brightness": (-1, 1)}, "width": {"brightness": 0.1}},
      "Rotation, a Scaling or a Translation"),
     ({"width": {"angle": 31.0}}, "no wider than the box"),
     ({"width": {"angle": 0.0}}, "not all 0"),
     ({"width": {"dx": 1.0}}, "half a width for each"),
     ({"box": {"tilt": (0, 1)}}, "tilt"),
     ({"eps": -0.1}, "`eps`")],
)  # fmt: skip
def test_settings_that_do_not_fit(changes, message):
    settings = {"transform": Rotation(), "box": {"angle": (-30, 30)}, "width": {"angle": 1.0}}
    with pytest.raises(InputError, match=message):
        ParameterIntervalTraining(network(), **{**settings, **changes})


def test_training_brings_bounds_together():
    pl.seed_everything(0, verbose=False)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    module = ParameterIntervalTraining(
        model, Rotation(), {"angle": (-15, 15)}, {"angle": 1.0}, warmup_epochs=1, ramp_epochs=2,
        optimizer=lambda params: torch.optim.Adam(params, lr=0.01),
    )  # fmt: skip
    data = Digits(batch_size=64)
    trainer = pl.Trainer(
        max_epochs=6, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    (before,) = trainer.test(module, data, verbose=False)
    trainer.fit(module, data)
    (after,) = trainer.test(module, data, verbose=False)
    assert after["test/clean_accuracy"] > 0.85
    assert after["test/verified_accuracy"] > before["test/verified_accuracy"] + 0.4
    assert after["test/verified_accuracy"] <= after["test/clean_accuracy"]
