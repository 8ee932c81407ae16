"""Every network that is shipped is what its card says, and loads into the model that it names."""

import json
from pathlib import Path

import pytest
from torch import nn

from lightning_smooth.experiment import built
from lightning_smooth.models import fingerprint, load_weights

FOLDER = Path(__file__).parents[2] / "checkpoints"
CARDS = [path for path in sorted(FOLDER.glob("*.json")) if path.stem != "cifar10-quilting-bank"]
"""Of all but a bank of image patches."""


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.stem)
def test_weights_load_as_a_user_loads_them(card):
    said = json.loads(card.read_text())
    model = built(nn.Module, said["model"])
    load_weights(model, card.with_suffix(".safetensors"))
    assert card.with_suffix(".safetensors").name == said["file"]
    if "weights" in said:
        assert fingerprint(model)["weights"] == said["weights"]
