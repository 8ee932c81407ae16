"""Every training module over two real processes: one set of weights, images and draws of each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_smooth.modules

ROOT = Path(__file__).parents[2]

TRAINING = """
import json, sys
import pytorch_lightning as pl
import torch
from lightning_smooth import modules
from lightning_smooth.attacks import FGSM, PGD
from lightning_smooth.data import Digits
from lightning_smooth.maths.laws import ExponentialLaw
from lightning_smooth.models import Critic, Generator, PixelCNN, SmallConvNet, SurrogateNetwork
from lightning_smooth.transforms import GaussianBlur, Rotation, RotationalBlur

def net():
    return SmallConvNet(image_size=8, padding=1)

def pgd():
    return PGD(0.1, steps=2)

BLUR = (RotationalBlur(samples=4), {"angle": (0.0, 30.0)})
MADE = {
    "AdversarialTraining": lambda: modules.AdversarialTraining(net(), pgd()),
    "AugMixTraining": lambda: modules.AugMixTraining(net()),
    "CascadeTraining": lambda: modules.CascadeTraining(net(), FGSM(0.1)),
    "ConsistencyRegularization": lambda: modules.ConsistencyRegularization(net(), 0.3),
    "GaussianAugmentation": lambda: modules.GaussianAugmentation(net(), 0.3),
    "IntervalTraining": lambda: modules.IntervalTraining(net(), 0.1),
    "Macer": lambda: modules.Macer(net(), 0.3, copies=4),
    "ParameterIntervalTraining": lambda: modules.ParameterIntervalTraining(
        net(), Rotation(), {"angle": (-30.0, 30.0)}, {"angle": 1.0}, eps=0.01),
    "PixelCNNTraining": lambda: modules.PixelCNNTraining(
        PixelCNN(1, width=6, dilations=(1, 2), head=8, mixtures=2)),
    "RangeAugmentation": lambda: modules.RangeAugmentation(net(), *BLUR, 0.3),
    "SmoothAdv": lambda: modules.SmoothAdv(net(), 0.3, epsilon=0.5, warmup_epochs=1),
    "SmoothMix": lambda: modules.SmoothMix(net(), 0.3),
    "StabilityTraining": lambda: modules.StabilityTraining(net(), 0.3),
    "SurrogateTransform": lambda: modules.SurrogateTransform(SurrogateNetwork(*BLUR, (1, 8, 8))),
    "TransformAugmentation": lambda: modules.TransformAugmentation(
        net(), GaussianBlur(), {"variance": ExponentialLaw(2.0)}),
    "WGANTraining": lambda: modules.WGANTraining(
        Generator(4, 1, 8, width=4), Critic(1, 8, width=4), critic_steps=2),
}

def trained(name):
    class Seen(pl.Callback):
        first = []

        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            self.first.append(float(batch[0].sum()))

    pl.seed_everything(0)
    module, seen = MADE[name](), Seen()
    seen.first = []
    before = [p.detach().clone() for p in module.parameters()]
    trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False,
                         limit_train_batches=4, limit_val_batches=1, num_sanity_val_steps=0,
                         enable_checkpointing=False, enable_progress_bar=False,
                         enable_model_summary=False, callbacks=[seen],
                         default_root_dir=sys.argv[1])
    trainer.fit(module, datamodule=Digits(batch_size=16))
    after = [p.detach() for p in module.parameters()]
    moved = any(not torch.equal(one, two) for one, two in zip(before, after, strict=True))
    sums = [float(p.double().sum()) for p in after]
    found = {"weights": sums, "seen": seen.first, "moved": moved}
    with open(f"{sys.argv[1]}/{name}-{trainer.global_rank}.json", "w") as file:
        json.dump(found, file)

if __name__ == "__main__":
    for name in MADE:
        trained(name)
"""

NAMES = sorted(set(lightning_smooth.modules.__all__) - {"SmoothingModule"})

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("distributed")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What each rank of each module wrote, all of them trained by one pair of processes."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "training.py").write_text(TRAINING)
    done = subprocess.run(
        [sys.executable, str(folder / "training.py"), str(folder)], cwd=ROOT, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_train_one_network_on_images_of_their_own(folder, name):
    one, two = (json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(2))
    assert one["moved"]
    assert one["weights"] == two["weights"]
    assert len(one["seen"]) == len(two["seen"]) == 4
    assert not set(one["seen"]) & set(two["seen"])
