"""Every shipped generative model is what its card says."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from lightning_smooth.models import Generator, PixelCNN, fingerprint
from lightning_smooth.models.weights import read_state_dict

ROOT = Path(__file__).parents[2]
CARDS = [
    path
    for kind in ("pixelcnn", "wgan")
    for path in sorted((ROOT / "checkpoints").glob(f"*-{kind}.json"))
]


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_card_and_weights_agree(path):
    card = json.loads(path.read_text())
    weights = path.with_name(card["file"])
    assert weights.stat().st_size < 2_000_000
    module, name = card["model"]["class_path"].rsplit(".", 1)
    model = getattr(importlib.import_module(module), name)(
        **card["model"]["init_args"], weights=str(weights)
    )
    assert fingerprint(model)["weights"] == card["weights"]
    assert all(value.dtype == torch.float32 for value in read_state_dict(weights).values())
    assert (ROOT / card["command"].split()[3]).is_file()


def test_a_density_prefers_an_image_to_its_pixels_in_another_order():
    (path,) = [path for path in CARDS if path.stem == "mnist-pixelcnn"]
    model = PixelCNN(weights=str(path.with_suffix(".safetensors")))
    image = torch.zeros(1, 1, 28, 28)
    image[:, :, 5:23, 13:16] = 1  # a stroke, like a one
    mixed = image.flatten()[torch.randperm(784, generator=torch.Generator().manual_seed(0))]
    stroke, noise = (model.bits_per_dim(x).item() for x in (image, mixed.view(image.shape)))
    assert stroke < 1 < 2 * stroke + 1 < noise


def test_a_generator_draws_strokes_on_black():
    (path,) = [path for path in CARDS if path.stem == "mnist-wgan"]
    model = Generator(weights=str(path.with_suffix(".safetensors")))
    latents = torch.randn(200, model.latent, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        images = model(latents)
    # MNIST's training images: mean .1307; black within two pixels of the border.
    assert 0.1 < float(images.mean()) < 0.16
    border = torch.ones(28, 28, dtype=torch.bool)
    border[2:-2, 2:-2] = False
    assert float(images[:, 0, border].mean()) < 0.01
    assert float(images.std(dim=0).max()) > 0.3
