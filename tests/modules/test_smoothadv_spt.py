"""SPT's training: transformation, preprocessing and search in order; what validation shows."""

import pytest
import pytorch_lightning as pl
import torch
import yaml
from scipy import stats
from torch import nn

from lightning_smooth.__main__ import main
from lightning_smooth.data import Digits
from lightning_smooth.errors import InputError
from lightning_smooth.models import Vignetted
from lightning_smooth.modules import GaussianAugmentation, SmoothAdv
from lightning_smooth.modules.boxes import UniformAttack
from lightning_smooth.smoothing.rng import training_seed
from lightning_smooth.transforms import Brightness, Preprocessing, Rotation, Scaling, Translation

from .test_smoothadv import batch, generator, recorder


def spt(model, **settings):
    chosen = {
        "sigma": 0.3, "copies": 1, "steps": 1, "epsilon": 0.2, "warmup_epochs": 1,
        "transform": Rotation(), "box": {"angle": (-60.0, 60.0)},
        "preprocessing": Preprocessing(margin=1, blur=3), **settings,
    }  # fmt: skip
    return SmoothAdv(model, **chosen)


def test_images_are_transformed_then_preprocessed_then_searched_then_noisy():
    images, labels = torch.zeros(6, 1, 8, 8), torch.arange(6)
    images[:, :, 2:4, 3:5] = 1.0  # inside at first; partly outside after two or three pixels
    model, steps = recorder(), Preprocessing(margin=1, blur=3)
    module = spt(
        model, sigma=1e-9, epsilon=1e-5, preprocessing=steps,
        transform=Translation(), box={"dx": (2.0, 3.0)},
    )  # fmt: skip
    module.loss(images, labels, generator())
    theta = torch.rand(6, 2, generator=generator()) * torch.tensor([1.0, 0.0])
    moved = Translation()(images, theta + torch.tensor([2.0, 0.0]))
    expected = steps(moved)
    assert (model.seen[0] - expected).abs().max() < 1e-6
    # The one step is the last of all, and stays where the blur has put it.
    assert 1e-6 < float((model.seen[1] - expected).flatten(1).norm(dim=1).max()) < 2e-5
    others = [Translation()(steps(images), theta + torch.tensor([2.0, 0.0])), moved]
    others += [steps.vignette(steps.blur(moved)), steps(images)]
    assert all((model.seen[0] - other).abs().max() > 0.05 for other in others)


def test_parameters_are_uniform_in_the_box_around_the_identity():
    drawn = UniformAttack(Scaling(), {"scale": (-0.3, 0.5)}).draw(20_000, generator())
    assert stats.kstest(drawn[:, 0].numpy(), stats.uniform(-0.3, 0.8).cdf).pvalue > 0.01
    image = torch.rand(1, 1, 8, 8)
    module = spt(recorder(), transform=Scaling(), box={"scale": (0.0, 0.0)}, preprocessing=None)
    assert torch.equal(module.transformed(image, generator()), image)
    module = spt(recorder(), transform=Translation(), box={"dy": (2.0, 2.0)}, preprocessing=None)
    moved = module.transformed(image, generator())
    assert torch.equal(moved[:, :, 2:], image[:, :, :-2])
    assert not moved[:, :, :2].any()


def test_autocast_rounds_neither_images_nor_loss():
    images, labels = batch(side=8)
    exact, rough = recorder(), recorder()
    loss, _ = spt(exact).loss(images, labels, generator())
    with torch.autocast("cpu", torch.bfloat16):
        rounded, logits = spt(rough).loss(images, labels, generator())
    assert torch.equal(exact.seen[0], rough.seen[0])
    assert rounded.dtype == logits.dtype == torch.float32
    assert float(rounded.detach()) == pytest.approx(float(loss.detach()), rel=0.02)


def trainer(**settings):
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, **settings,
    )  # fmt: skip


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_accuracies_are_of_images_as_they_are_certified(verb):
    model, data = recorder().eval(), Digits(val_size=60, eval_batch_size=512)
    module = spt(model)
    figures = getattr(trainer(), verb)(module, data, verbose=False)[0]
    name = "val" if verb == "validate" else "test"
    ((images, labels, _),) = list(getattr(data, f"{name}_dataloader")())
    clean, noisy = model.seen[-2:]
    draws = generator(training_seed(-1, 0, 0))
    theta = -60.0 + 120.0 * torch.rand(len(images), 1, generator=draws)
    seen = Preprocessing(margin=1, blur=3)
    assert torch.equal(clean, seen(images))
    torch.testing.assert_close(
        noisy, seen(Rotation()(images, theta)) + module.law.like(images, draws)
    )
    for key, inputs in (("clean", clean), ("noisy", noisy)):
        with torch.no_grad():
            right = (model.net(inputs).argmax(1) == labels).double().mean()
        assert figures[f"{name}/{key}_accuracy"] == pytest.approx(float(right))


def test_other_methods_show_the_image_itself_and_noise():
    images = torch.rand(3, 1, 8, 8)
    module = GaussianAugmentation(recorder(), 0.3)
    clean, noisy = module.shown(images, generator())
    assert clean is images
    assert torch.equal(noisy, images + module.law.like(images, generator()))


def test_predictions_are_of_preprocessed_images():
    model, data = recorder().eval(), Digits(eval_batch_size=512)
    module = spt(model)
    found = torch.cat(trainer().predict(module, data))
    images = torch.cat([images for images, _, _ in data.predict_dataloader()])
    with torch.no_grad():
        assert torch.equal(found, model.net(module.preprocessing(images)).argmax(1))
        assert not torch.equal(found, model.net(images).argmax(1))


def test_a_box_and_a_transformation_go_together():
    with pytest.raises(InputError, match=r"a `transform` for the parameters of `box`"):
        SmoothAdv(nn.Flatten(), 0.5, box={"angle": (-1, 1)})
    with pytest.raises(InputError, match=r"a `box` to draw .* Rotation\(\) .* ranges of angle"):
        SmoothAdv(nn.Flatten(), 0.5, transform=Rotation())
    with pytest.raises(InputError, match=r"ranges of angle, the parameters of .* got \['dx'\]"):
        spt(nn.Flatten(), box={"dx": (-1, 1)})
    with pytest.raises(InputError, match=r"ranges of angle, .* but got none"):
        spt(nn.Flatten(), box={})
    with pytest.raises(InputError, match="range of `scale`"):
        spt(nn.Flatten(), transform=Scaling(), box={"scale": (-1.0, 0.2)})
    with pytest.raises(InputError, match=r"keeps images in \[0, 1\].*Brightness"):
        spt(nn.Flatten(), transform=Brightness(), box={"brightness": (-0.1, 0.1)})


def test_a_vignette_larger_than_the_image_is_refused():
    images, labels = batch(side=8)
    module = spt(recorder(), preprocessing=Preprocessing(margin=5))
    with pytest.raises(InputError, match="keeps a pixel, but got 8 x 8: reduce the margin"):
        module.loss(images, labels, generator())


def test_training_finds_the_classes_under_noise_and_logs_the_distance():
    pl.seed_everything(0)
    with torch.random.fork_rng():
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    module = spt(
        Vignetted(network, margin=0), sigma=0.2, box={"angle": (-10.0, 10.0)}, epsilon=0.1,
        preprocessing=Preprocessing(margin=0, blur=3, s=0.5),
        optimizer=lambda p: torch.optim.Adam(p, lr=0.01),
    )  # fmt: skip
    judge = trainer(max_epochs=6)
    judge.fit(module, datamodule=Digits(batch_size=32))
    assert float(judge.callback_metrics["val/noisy_accuracy"]) > 0.7
    assert float(judge.callback_metrics["train/distance"]) == pytest.approx(0.1, rel=0.01)


def test_checkpoints_hold_plain_types(tmp_path):
    module, judge = spt(recorder()), trainer(max_steps=2, limit_val_batches=1)
    judge.fit(module, datamodule=Digits())
    judge.save_checkpoint(tmp_path / "x.ckpt")
    stored = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert set(stored["state_dict"]) == {f"model.{k}" for k in module.model.state_dict()}
    settings = stored["hyper_parameters"]
    assert settings.keys().isdisjoint({"model", "optimizer", "scheduler"})
    assert settings["transform"] == "Rotation()"
    assert settings["box"] == {"angle": [-60.0, 60.0]}
    assert settings["preprocessing"] == "Preprocessing('circle', margin=1, blur=3, s=2)"
    named = ("sigma", "copies", "epsilon", "steps", "step_size", "warmup_epochs")
    assert tuple(settings[name] for name in named) == (0.3, 1, 0.2, 1, None, 1)
    assert yaml.safe_load(yaml.safe_dump(dict(settings))) == settings
    bare = SmoothAdv(recorder(), 0.3).hparams
    assert (bare["transform"], bare["box"], bare["preprocessing"]) == (None, None, None)


SPT = """
model:
  class_path: lightning_smooth.modules.SmoothAdv
  init_args:
    sigma: 0.25
    copies: 1
    steps: 1
    epsilon: 0.2
    warmup_epochs: 1
    transform:
      class_path: lightning_smooth.transforms.Rotation
    box:
      angle: [-60.0, 60.0]
    preprocessing:
      class_path: lightning_smooth.transforms.Preprocessing
      init_args:
        margin: 1
        blur: 3
    model:
      class_path: lightning_smooth.models.Vignetted
      init_args:
        margin: 1
        model:
          class_path: lightning_smooth.models.SmallConvNet
          init_args:
            image_size: 8
            padding: 1
data:
  class_path: lightning_smooth.data.Digits
certification:
  certifier:
    class_path: lightning_smooth.certify.GaussianCertifier
    init_args:
      sigma: 0.25
"""


def test_spt_is_trained_from_yaml(tmp_path):
    (tmp_path / "spt.yaml").write_text(SPT)
    words = [
        "fit", f"--config={tmp_path / 'spt.yaml'}", f"--output.folder={tmp_path / 'run'}",
        "--trainer.max_steps=2", "--trainer.limit_val_batches=1", "--trainer.accelerator=cpu",
        "--certification.val_images=0", "--trainer.enable_progress_bar=false",
    ]  # fmt: skip
    assert main(words) == 0
    (path,) = (tmp_path / "run").rglob("*.ckpt")
    settings = torch.load(path, weights_only=True)["hyper_parameters"]
    assert settings["preprocessing"] == "Preprocessing('circle', margin=1, blur=3, s=2)"
    assert settings["box"] == {"angle": [-60.0, 60.0]}
    assert (settings["epsilon"], settings["step_size"]) == (0.2, None)
