"""What has to be so before, and while, records of a predict loop are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from lightning_smooth.certify.base import image_digest
from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.records.reading import Record


def check_trainer(trainer: pl.Trainer, verb: str) -> None:
    """Refuse a trainer that changes images, or leaves some out.

    Raises:
        InputError: its precision or its `limit_predict_batches` does that.
    """
    if str(trainer.precision).endswith("-true") and trainer.precision != "32-true":
        raise InputError(
            f"Expected the trainer's precision not to be {trainer.precision} here: it would "
            f"round the images before they are changed, and {verb} others than those of "
            "the data set. Give --certification.certifier.precision bf16 instead."
        )
    limit = trainer.limit_predict_batches
    if isinstance(limit, int) or limit < 1:  # 1 is one batch, 1.0 is all of them
        raise InputError(
            "Expected every batch of the predict loop, but trainer.limit_predict_batches (or "
            "fast_dev_run) leaves some out: choose images with data.skip and data.limit."
        )


def check_selection(
    wanted: Sequence[int], done: Mapping[int, Any], processes: int, option: str
) -> None:
    """Check that what is recorded belongs to the images that are asked for.

    Args:
        wanted: indices of the images.
        done: what is recorded, by index.
        processes: that share the images.
        option: of the command line that records belong to.

    Raises:
        InputError: there are fewer images than processes.
        RecordError: other images are recorded.
    """
    if len(wanted) < processes:
        raise InputError(
            f"There are {processes} processes for {len(wanted)} images: set trainer.devices to "
            f"{len(wanted)} or fewer."
        )
    extra = done.keys() - set(wanted)
    if extra:
        raise RecordError(
            f"The records hold {len(extra)} images that are not asked for now, index "
            f"{min(extra)} among them: give the skip and limit that they were made with (a "
            f"larger limit goes on from there), or another file (--{option}.records)."
        )


def check_same_image(known: Record, image: Tensor, label: int, option: str) -> None:
    """Check that an image (C, H, W) is the one that was recorded under its index.

    Raises:
        RecordError: its pixels or its label differ.
    """
    if known.image and (known.image, known.label) != (image_digest(image), label):
        raise RecordError(
            f"Image {known.index} of the records is another one than that of the data now: "
            f"they belong to other data. Choose another --output.folder or "
            f"--{option}.records."
        )
