"""Training of surrogates: what is drawn, what the loss is, what is logged, what is refused."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from scipy import stats
from torch import nn
from torchvision.io import read_image

from lightning_smooth.data import Digits
from lightning_smooth.errors import InputError
from lightning_smooth.models import SurrogateNetwork
from lightning_smooth.modules import SurrogateTransform
from lightning_smooth.modules.surrogate import STEP
from lightning_smooth.transforms import (
    Brightness,
    Compose,
    DefocusBlur,
    GaussianBlur,
    Hue,
    IntegerTranslation,
    Pixelate,
    Rotation,
    RotationalBlur,
    Scaling,
    Translation,
)

BLUR = (RotationalBlur(samples=4), {"angle": (0.0, 30.0)})


def network(transform=BLUR[0], box=BLUR[1], shape=(1, 8, 8), **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SurrogateNetwork(transform, box, shape, **settings)


def module(*given, sizes=None, shape=None, **settings):
    sizes = {**(sizes or {}), **({"shape": shape} if shape else {})}
    return SurrogateTransform(network(*given, **sizes), **settings)


def generator(seed=3):
    return torch.Generator().manual_seed(seed)


def trainer(tmp_path, **settings):
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, num_sanity_val_steps=0, **settings,
    )  # fmt: skip


def test_parameters_are_uniform_in_the_box():
    subject = module(Compose([Scaling(), Translation()]), {"dy": (-2.0, 1.0), "scale": (0.8, 1.1)})
    theta = subject.theta(5000, generator()).numpy()
    assert subject.model.names == ("scale", "dy")
    assert stats.kstest(theta[:, 0], stats.uniform(0.8, 0.3).cdf).pvalue > 0.01
    assert stats.kstest(theta[:, 1], stats.uniform(-2, 3).cdf).pvalue > 0.01
    assert abs(np.corrcoef(theta.T)[0, 1]) < 0.05


@pytest.mark.parametrize("sigma", [0.0, 0.4])
def test_the_fit_is_the_mean_square_against_the_real_images(sigma):
    subject = module(Translation(), {"dx": (-1.0, 2.0)}, sigma=sigma)
    images, theta = torch.rand(6, 1, 8, 8), subject.theta(6, generator())
    net = subject.model
    latents = net.encode(images) + net.move(theta)
    if sigma:
        latents = latents + sigma * torch.randn(latents.shape, generator=generator(5))
    real = Translation()(images, torch.cat([theta, 0 * theta], dim=1))
    expected = (net.decode(latents) - real).square().mean()
    found = subject.fit_error(images, theta, generator(5))
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_the_motion_is_compared_with_the_slope_of_another_draw():
    # tau adds theta to each pixel: latents of the image move by 1 a unit, the others stay.
    subject = module(Brightness(), {"brightness": (-0.2, 0.3)})
    theta = subject.theta(5, generator())
    slopes = subject.model.motion.jacobian(theta.roll(1, 0).float())[:, :, 0]
    true = torch.cat([torch.ones(64), torch.zeros(8)])
    expected = (0.5 * (true - slopes)).square().mean()
    found = subject.motion_error(torch.rand(5, 1, 8, 8), theta)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)
    (gradient,) = torch.autograd.grad(found, subject.model.motion.vectors)
    assert gradient.abs().sum() > 0


def test_differences_stay_in_the_box():
    # Beyond the box this transformation is not defined, and its values would be refused.
    subject = module(GaussianBlur(), {"variance": (0.0, 2.0)})
    ends = torch.tensor([[0.0], [2.0], [2 * STEP / 3]]).double()
    assert subject.motion_error(torch.rand(3, 1, 8, 8), ends).isfinite()


@pytest.mark.parametrize("sizes", [{}, {"encoder": "conv", "features": 2, "widths": (4,)},
                                   {"decoder": "dense", "parts": 48}])  # fmt: skip
def test_training_fits_the_transformation(sizes, tmp_path):
    pl.seed_everything(0)
    subject = module(
        sizes=sizes, sigma=0.01, smoothness=1e-4,
        optimizer=lambda p: torch.optim.Adam(p, lr=0.01),
        scheduler=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 36),
        scheduler_interval="step",
    )  # fmt: skip
    data, judge = Digits(batch_size=64, val_size=60), trainer(tmp_path, max_epochs=2)
    (before,) = judge.validate(subject, datamodule=data, verbose=False)
    judge.fit(subject, datamodule=data)
    after = judge.callback_metrics
    assert float(after["val/fit_error"]) < 0.6 * before["val/fit_error"]
    assert float(after["val/largest_error"]) < before["val/largest_error"]
    assert {"train/fit_error", "train/motion_error", "val/fit_error@7.5"} <= set(after)
    assert subject.model.lipschitz() <= 1 + 1e-6
    points, radius = subject.model.slopes()
    assert radius <= 0.1 * float(points.norm(dim=1).max())
    # Five values of the angle beside each other, three rows for each of four images.
    assert read_image(str(tmp_path / "surrogate.png")).shape == (3, 12 * 10 + 2, 5 * 10 + 2)


def test_smoothness_holds_slopes_at_those_of_latents(tmp_path):
    found = []
    for weight in (0.0, 1.0):
        pl.seed_everything(0)
        subject = module(
            smoothness=weight, pictures=0, optimizer=lambda p: torch.optim.Adam(p, lr=0.01)
        )
        trainer(tmp_path, max_epochs=1, limit_val_batches=0).fit(
            subject, datamodule=Digits(batch_size=64)
        )
        theta = subject.theta(64, generator())
        found.append(float(subject.motion_error(torch.rand(64, 1, 8, 8), theta).detach()))
    assert found[1] < 0.6 * found[0]
    assert not (tmp_path / "surrogate.png").exists()


def test_validation_logs_errors_over_the_grid(tmp_path):
    subject = module(Translation(), {"dx": (-1.0, 1.0), "dy": (0.0, 2.0)}, points=3)
    data = Digits(val_size=30, eval_batch_size=11)
    (found,) = trainer(tmp_path).validate(subject, datamodule=data, verbose=False)
    images = torch.stack([image for image, _, _ in data.val_dataloader().dataset])
    errors = {}
    with torch.no_grad():
        for dx in (-1.0, 0.0, 1.0):
            for dy in (0.0, 1.0, 2.0):
                theta = torch.tensor([[dx, dy]])
                errors[f"{dx:g},{dy:g}"] = subject.model.eval()(images, theta) - Translation()(
                    images, theta
                )
    for name, error in errors.items():
        rms = float(error.square().mean().sqrt())
        assert found[f"val/fit_error@{name}"] == pytest.approx(rms, rel=1e-4)
    every = torch.stack(list(errors.values()))
    assert found["val/fit_error"] == pytest.approx(float(every.square().mean().sqrt()), rel=1e-4)
    worst = float(every.flatten(2).norm(dim=2).max())
    assert found["val/largest_error"] == pytest.approx(worst, rel=1e-4)


@pytest.mark.parametrize(
    ("transform", "box", "shape"),
    [
        (Pixelate(), {"strength": (0.0, 0.5)}, (1, 8, 8)),
        (IntegerTranslation(), {"dx": (-2.0, 2.0)}, (1, 8, 8)),
        (Hue(), {"hue": (-30.0, 30.0)}, (3, 8, 8)),
        (DefocusBlur(), {"radius": (0.0, 5.0)}, (1, 12, 12)),
        (Compose([Rotation(), GaussianBlur()]), {"angle": (-9, 9), "variance": (1, 1)}, (1, 8, 8)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_transformation_can_be_trained(transform, box, shape):
    subject = module(transform, box, shape, sigma=0.1, smoothness=0.1)
    images = torch.rand(4, *shape)
    loss = subject.fit_error(images, subject.theta(4, generator()), generator())
    loss = loss + subject.motion_error(images, subject.theta(4, generator()))
    loss.backward()
    assert loss.isfinite()
    assert subject.model.motion.vectors.grad.isfinite().all()
    assert subject.picture(images[:2]).shape == (6 * len(subject._grid), *shape)


def test_every_step_has_draws_of_its_own(tmp_path):
    class Told(SurrogateTransform):
        def fit_error(self, images, theta, generator):
            drawn.append(theta)
            return super().fit_error(images, theta, generator)

    drawn = []
    for seed in (0, 0, 1):
        pl.seed_everything(seed)
        judge = trainer(tmp_path, max_epochs=2, limit_train_batches=2, limit_val_batches=0)
        judge.fit(Told(network()), datamodule=Digits(batch_size=16))
    one, again, other = drawn[:4], drawn[4:8], drawn[8:]
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert len({float(theta[0]) for theta in (*one, *other)}) == 8


def test_its_settings_are_plain(tmp_path):
    judge = trainer(tmp_path, max_steps=1, limit_val_batches=0)
    subject = module()
    judge.fit(subject, datamodule=Digits(batch_size=16))
    judge.save_checkpoint(tmp_path / "x.ckpt")
    stored = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert stored["hyper_parameters"]["box"] == {"angle": [0.0, 30.0]}
    again = network(weights=str(tmp_path / "x.ckpt"))
    assert torch.equal(again.motion.vectors, subject.model.motion.vectors)


def test_what_is_refused(tmp_path):
    with pytest.raises(InputError, match="`model` to be a SurrogateNetwork, but got Linear"):
        SurrogateTransform(nn.Linear(1, 1))
    with pytest.raises(InputError, match="`sigma`"):
        module(sigma=-1.0)
    with pytest.raises(InputError, match="`smoothness`"):
        module(smoothness=-1.0)
    with pytest.raises(InputError, match="`points` to be an integer of at least 2"):
        module(points=1)
    with pytest.raises(InputError, match=r"that of the data, \(1, 8, 8\) .*on images \(1, 6, 6\)"):
        trainer(tmp_path).fit(module(shape=(1, 6, 6)), datamodule=Digits())
    with pytest.raises(InputError, match="no classes to predict or certify"):
        trainer(tmp_path).predict(module(), datamodule=Digits())
