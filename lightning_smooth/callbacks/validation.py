"""Certified accuracy in validation: a fixed sample, few draws, from streams of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

from lightning_smooth.callbacks.subject import network
from lightning_smooth.certify.base import Certifier
from lightning_smooth.errors import InputError, check_count
from lightning_smooth.maths.certified import certified_hits
from lightning_smooth.metrics import CertifiedAccuracy

_LOGGED = ("val/certified_accuracy@", "val/acr", "val/abstention")


class ValidationCertification(Callback):
    """Logs certified accuracy of a fixed sample of the validation set, for checkpoints to follow.

    It logs `val/certified_accuracy@R` for each radius R, `val/acr` and `val/abstention`. The draws
    are not those that certify test images: a checkpoint that is chosen by them is certified on
    draws that are independent of the choice.

    Args:
        certifier: the algorithm; validation takes its settings but for the numbers of draws.
        radii: radii of the certified accuracy, in the certifier's unit.
        images: validation images certified, evenly spaced; 0 for none.
        n0: draws that choose the class.
        n: draws that bound its probability.
        every_n_epochs: certify in every so many epochs.

    Raises:
        InputError: a number is out of range.
    """

    def __init__(
        self,
        certifier: Certifier,
        radii: Sequence[float],
        images: int,
        n0: int,
        n: int,
        every_n_epochs: int,
    ) -> None:
        self.radii = CertifiedAccuracy(radii).radii
        self.val_images = check_count("val_images", images, least=0)
        self.val_every_n_epochs = check_count("val_every_n_epochs", every_n_epochs)
        self.val_certifier = certifier.for_validation(n0=n0, n=n)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that checkpoints follow what is measured when they look.

        Raises:
            InputError: one does not.
        """
        if stage == "fit":
            self._check_monitors(trainer)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Certify the fixed sample and log its certified accuracy."""
        due = (trainer.current_epoch + 1) % self.val_every_n_epochs == 0
        due = due or trainer.state.fn == TrainerFn.VALIDATING
        if trainer.sanity_checking or not self.val_images or not due:
            return
        loaders = trainer.val_dataloaders
        dataset = getattr(loaders[0] if isinstance(loaders, list) else loaders, "dataset", None)
        if dataset is None or not len(dataset):
            return
        places = np.linspace(0, len(dataset) - 1, min(self.val_images, len(dataset))).astype(int)
        if getattr(trainer, "fast_dev_run", False):
            places = places[:2]
        model = network(pl_module)
        items = [dataset[int(p)] for p in places[trainer.global_rank :: trainer.world_size]]
        found = list(
            self.val_certifier.certify_batch(
                model,
                [torch.as_tensor(image) for image, _, _ in items],
                indices=[int(index) for _, _, index in items],
                labels=[int(label) for _, label, _ in items],
            )
        )
        correct = [c.correct for c in found]
        radius = [c.radius or 0.0 for c in found]
        sums = [
            *certified_hits(correct, radius, self.radii).tolist(),
            sum(r for r, right in zip(radius, correct, strict=True) if right),
            sum(c.abstained for c in found),
            len(found),
        ]
        total = trainer.strategy.reduce(
            torch.tensor(sums, dtype=torch.float32, device=pl_module.device), reduce_op="sum"
        )
        *held, radii, abstained, images = total.tolist()
        figures = {
            f"val/certified_accuracy@{r:g}": hits / images
            for r, hits in zip(self.radii, held, strict=True)
        }
        figures |= {"val/acr": radii / images, "val/abstention": abstained / images}
        pl_module.log_dict(figures, rank_zero_only=False, sync_dist=False)

    def _check_monitors(self, trainer: pl.Trainer) -> None:
        every = self.val_every_n_epochs if self.val_images else 0
        for checkpoint in trainer.checkpoint_callbacks:
            if not isinstance(checkpoint, ModelCheckpoint):
                continue
            ours = str(checkpoint.monitor).startswith(_LOGGED)
            if ours and every not in (1, checkpoint._every_n_epochs):
                raise InputError(
                    f"A ModelCheckpoint monitors {checkpoint.monitor} every "
                    f"{checkpoint._every_n_epochs} epochs, but it is measured every {every} (0: "
                    "never): set certification.val_every_n_epochs to 1, or to the checkpoint's "
                    "every_n_epochs, and certification.val_images above 0."
                )
