"""What holds for every method that looks at noisy copies: noise, passes, precision, logs, files."""

import math
import subprocess
import sys

import pytest
import pytorch_lightning as pl
import torch
from scipy import stats
from torch import nn

from lightning_smooth.data import Digits
from lightning_smooth.errors import InputError
from lightning_smooth.models import SmallConvNet
from lightning_smooth.modules import (
    ConsistencyRegularization,
    Macer,
    SmoothMix,
    StabilityTraining,
)
from lightning_smooth.modules.copies import divergence, entropy

METHODS = {
    "consistency": lambda model, **s: ConsistencyRegularization(model, 0.3, copies=3, **s),
    "macer": lambda model, **s: Macer(model, 0.3, copies=4, **s),
    "smoothmix": lambda model, **s: SmoothMix(model, 0.3, copies=2, steps=3, **s),
    "stability": lambda model, **s: StabilityTraining(model, 0.3, **s),
}
TERMS = {
    "consistency": {"cross_entropy", "consistency", "entropy"},
    "macer": {"cross_entropy", "hinge", "right"},
    "smoothmix": {"cross_entropy", "mix", "right"},
    "stability": {"cross_entropy", "stability"},
}
PASSES = {  # images in each pass of 5 images through the network
    "consistency": [15], "macer": [20], "smoothmix": [10] * 5, "stability": [5, 5],
}  # fmt: skip
every_method = pytest.mark.parametrize("name", METHODS)


class Watched(nn.Module):
    """A small network with batch normalisation, which keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
        )
        self.seen = []

    def forward(self, images):
        self.seen.append(images.detach().clone())
        return self.net(images)


def watched():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Watched()


def batch(size=5):
    generator = torch.Generator().manual_seed(2)
    return torch.rand(size, 1, 8, 8, generator=generator), torch.arange(size)


def trainer(**settings):
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **{"limit_val_batches": 0, **settings},
    )  # fmt: skip


@every_method
def test_all_copies_share_a_pass(name):
    model = watched()
    METHODS[name](model).loss(*batch(), torch.Generator())
    assert [len(images) for images in model.seen] == PASSES[name]


@every_method
def test_noise_is_the_generator_s_and_independent_among_images_and_copies(name):
    model = watched()
    images, labels = batch(400)
    labels = labels % 10
    METHODS[name](model).loss(images, labels, torch.Generator().manual_seed(4))
    noisy = model.seen[1 if name == "stability" else 0].view(-1, 400, 1, 8, 8)
    noise = (noisy - images).flatten(1)
    assert float(noise.std()) == pytest.approx(0.3, rel=0.02)
    flat = noise.reshape(-1, 64)
    strongest = (torch.corrcoef(flat[:40]) - torch.eye(40)).abs().max()
    assert float(strongest) < 0.7  # of 780 pairs of 64 pixels; a shared draw gives 1
    if len(noise) > 1:
        assert abs(float(torch.corrcoef(noise[:2])[0, 1])) < 0.03
    again = watched()
    METHODS[name](again).loss(images, labels, torch.Generator().manual_seed(4))
    assert all(torch.equal(one, two) for one, two in zip(model.seen, again.seen, strict=True))


@every_method
def test_the_logits_are_those_of_one_noisy_copy_of_each_image(name):
    model = watched().eval()
    module = METHODS[name](model)
    images, labels = batch()
    _, logits = module.loss(images, labels, torch.Generator().manual_seed(1))
    noise = module.law.like(
        images.expand(module.copies, *images.shape), torch.Generator().manual_seed(1)
    )
    torch.testing.assert_close(logits, model(images + noise[0]))


@every_method
def test_every_parameter_gets_a_gradient(name):
    model = watched()
    loss, _ = METHODS[name](model).loss(*batch(), torch.Generator())
    loss.backward()
    assert all(float(p.grad.abs().max()) > 0 for p in model.parameters())


@every_method
def test_bf16_gives_the_loss_of_float32(name):
    images, labels = batch()
    exact, _ = METHODS[name](watched()).loss(images, labels, torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        rough, logits = METHODS[name](watched()).loss(
            images, labels, torch.Generator().manual_seed(0)
        )
    assert rough.dtype == logits.dtype == torch.float32
    assert float(rough) == pytest.approx(float(exact), rel=0.02)


def two_layers():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


@every_method
def test_training_finds_the_classes_under_noise(name):
    pl.seed_everything(0)
    module = METHODS[name](two_layers(), optimizer=lambda p: torch.optim.Adam(p, lr=0.01))
    trainer(max_epochs=3).fit(module, datamodule=Digits(batch_size=32))
    found = trainer(limit_val_batches=None).validate(module, Digits(), verbose=False)[0]
    assert found["val/noisy_accuracy"] > 0.7


@every_method
def test_the_terms_are_logged_under_mixed_precision_too(name):
    module = METHODS[name](two_layers())
    judge = trainer(max_steps=2, precision="bf16-mixed")
    judge.fit(module, datamodule=Digits())
    logged = judge.logged_metrics
    assert {f"train/{term}" for term in TERMS[name]} <= set(logged)
    assert all(math.isfinite(float(value)) for value in logged.values())


@every_method
def test_settings_and_weights_file_are_kept(name, tmp_path):
    network = SmallConvNet(image_size=8, padding=1)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    module = METHODS[name](network, weights=str(tmp_path / "w.pt"), weights_head="keep")
    judge = trainer(max_steps=1)
    judge.fit(module, datamodule=Digits())
    judge.save_checkpoint(tmp_path / "x.ckpt")
    stored = torch.load(tmp_path / "x.ckpt", weights_only=True)["hyper_parameters"]
    assert stored["sigma"] == 0.3
    assert stored["weights"].endswith("w.pt")
    assert (
        set(stored)
        >= {
            "consistency": {"copies", "consistency", "entropy"},
            "macer": {"copies", "robustness", "gamma", "beta", "start_epoch"},
            "smoothmix": {"copies", "mixing", "steps", "step_size", "mix_step", "max_norm"},
            "stability": {"stability", "warmup_epochs"},
        }[name]
    )


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [
        (ConsistencyRegularization, "copies", 1),
        (ConsistencyRegularization, "copies", 2.5),
        (ConsistencyRegularization, "consistency", -1.0),
        (ConsistencyRegularization, "entropy", float("nan")),
        (Macer, "copies", 0),
        (Macer, "robustness", -1.0),
        (Macer, "gamma", 0.0),
        (Macer, "beta", float("inf")),
        (Macer, "start_epoch", -1),
        (SmoothMix, "copies", 0),
        (SmoothMix, "mixing", -0.1),
        (SmoothMix, "steps", 0),
        (SmoothMix, "step_size", 0.0),
        (SmoothMix, "mix_step", -1),
        (SmoothMix, "mix_step", 8),
        (SmoothMix, "max_norm", 0.0),
        (SmoothMix, "warmup_epochs", 0),
        (StabilityTraining, "stability", -2.0),
        (StabilityTraining, "stability", True),
        (StabilityTraining, "warmup_epochs", 0),
        (StabilityTraining, "sigma", 0.0),
    ],
)
def test_settings_out_of_range_are_refused(kind, setting, value):
    with pytest.raises(InputError, match=f"`{setting}`"):
        kind(nn.Flatten(), **{"sigma": 0.5, setting: value})


@every_method
def test_labels_and_scores_that_do_not_fit_are_refused(name):
    images, labels = batch()
    with pytest.raises(InputError, match=r"0\.\.9"):
        METHODS[name](watched()).loss(images, labels + 8, torch.Generator())
    with pytest.raises(InputError, match="scores of shape"):
        METHODS[name](nn.Flatten(0)).loss(images, labels, torch.Generator())


def test_entropy_and_divergence_agree_with_scipy():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(7, 5, generator=generator).softmax(1)
    logits = torch.randn(3, 7, 5, generator=generator)
    q = logits.softmax(-1)
    assert entropy(p).numpy() == pytest.approx(stats.entropy(p, axis=1), rel=1e-5)
    expected = stats.entropy(p.expand(3, 7, 5), q, axis=-1)
    assert divergence(p, logits).numpy() == pytest.approx(expected, rel=1e-4)
    sure = torch.tensor([1.0, 0.0], requires_grad=True)
    found = divergence(sure, torch.zeros(2))
    assert float(found) == pytest.approx(math.log(2))
    found.backward()
    assert torch.isfinite(sure.grad).all()


@pytest.mark.parametrize(
    ("epoch", "warmup_epochs", "share"), [(0, 1, 1.0), (0, 10, 0.1), (4, 10, 0.5), (30, 10, 1.0)]
)
@pytest.mark.parametrize("kind", [SmoothMix, StabilityTraining])
def test_the_warm_up_is_linear_in_epochs(kind, epoch, warmup_epochs, share):
    class At(kind):
        current_epoch = epoch

    images, labels = batch()

    def loss(kind, weight, warmup_epochs):
        name = "mixing" if issubclass(kind, SmoothMix) else "stability"
        module = kind(two_layers(), 0.3, **{name: weight, "warmup_epochs": warmup_epochs})
        return float(module.loss(images, labels, torch.Generator().manual_seed(0))[0].detach())

    assert loss(At, 400.0, warmup_epochs) == pytest.approx(loss(At, 400.0 * share, 1), rel=1e-6)
    assert loss(At, 400.0, 1) != pytest.approx(loss(At, 0.0, 1), rel=1e-3)


TWO = """
import sys, torch
import pytorch_lightning as pl
from torch import nn
from lightning_smooth import modules
from lightning_smooth.data import Digits
from lightning_smooth.models import fingerprint

def build(kind):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))
    return kind(net, 0.3)

if __name__ == "__main__":
    for name in sys.argv[2:]:
        class Told(getattr(modules, name)):
            def on_train_end(self):
                weights = torch.cat([p.detach().flatten() for p in self.parameters()])
                torch.save(weights, f"{sys.argv[1]}/{name}-{self.global_rank}")
        pl.Trainer(
            accelerator="cpu", strategy="ddp_fork", devices=2, logger=False, max_steps=3,
            enable_checkpointing=False, enable_progress_bar=False, limit_val_batches=0,
        ).fit(build(Told), datamodule=Digits(num_workers=0))
"""


@pytest.mark.slow
@pytest.mark.xdist_group("distributed")
def test_two_processes_train_the_same_weights(tmp_path):
    names = ["ConsistencyRegularization", "Macer", "SmoothMix", "StabilityTraining"]
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, tmp_path / "two.py", tmp_path, *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in names:
        first, second = (torch.load(tmp_path / f"{name}-{rank}") for rank in (0, 1))
        assert torch.equal(first, second)
