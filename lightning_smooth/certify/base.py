"""What every certifier is: an algorithm from (model, image) to a certificate."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from abc import ABC, abstractmethod
from typing import Any, final

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError, SoundnessError, check_count
from lightning_smooth.maths.ledger import check_ledger
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.checks import check_image
from lightning_smooth.smoothing.laws import Law
from lightning_smooth.types import ABSTAIN


class Certifier(ABC):
    """An algorithm that certifies one image at a time.

    A subclass writes `_certify`, `describe`, `for_validation` and `law`; the public call validates
    what comes in, times it, and checks what goes out.
    """

    @final
    def __call__(
        self, model: nn.Module, image: Tensor, *, index: int, label: int | None = None
    ) -> Certificate:
        """Certify one image.

        Args:
            model: base classifier: (B, C, H, W) in [0, 1] -> scores (B, K). Evaluated in eval
                mode; its own modes are put back.
            image: (C, H, W), floating point, in [0, 1].
            index: the image's index in its data set, at least 0. With the seed it keys the noise:
                give every image its own.
            label: the true class, kept in the certificate; it has no influence on the verdict.

        Returns:
            The certificate. What it guarantees, and with what probability, its class states.

        Raises:
            InputError: image, index, label or the model's answer is not what was expected.
            SoundnessError: the certificate contradicts itself (a bug of the certifier).
        """
        check_image(image)
        index = check_count("index", index, least=0)
        label = None if label is None else check_count("label", label, least=0)
        start = time.perf_counter()
        certificate = self._certify(model, image, index=index)
        _check_sound(certificate)
        _check_label(label, certificate.parameters.get("classes"))
        seconds = time.perf_counter() - start
        return dataclasses.replace(
            certificate, label=label, image=image_digest(image), seconds=round(seconds, 6)
        )

    @property
    @abstractmethod
    def law(self) -> Law:
        """The noise under which the model is smoothed."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the settings on which certificates depend, in plain types.

        Two certifiers of one description give the same certificates; records keep it as part of
        their fingerprint. Settings of speed alone are not in it.
        """

    @abstractmethod
    def for_validation(self, *, n0: int, n: int) -> Certifier:
        """Return the same certifier with other numbers of draws, from streams of their own.

        A model may be chosen by what it measures; the draws that then certify the model are
        independent of that choice.
        """

    @abstractmethod
    def _certify(self, model: nn.Module, image: Tensor, *, index: int) -> Certificate:
        """Certify one validated image; the caller fills in label, image and seconds."""


def image_digest(image: Tensor) -> str:
    """16 hex digits over an image's shape and its pixels as float32: which image was certified."""
    pixels = image.detach().to("cpu", torch.float32).contiguous()
    content = str(tuple(image.shape)).encode() + pixels.numpy().tobytes()
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _check_sound(c: Certificate) -> None:
    check_ledger(c.ledger, c.alpha)
    if not 0 <= c.hits <= c.n or c.p_lower > c.hits / c.n:
        raise SoundnessError(f"The bound {c.p_lower} is above the rate {c.hits}/{c.n}.")
    if c.predicted not in (c.candidate, ABSTAIN):
        raise SoundnessError(f"Certified class {c.predicted}, but tested {c.candidate}.")
    if c.abstained and c.radius:
        raise SoundnessError(f"An abstention with radius {c.radius}.")


def _check_label(label: int | None, classes: int | None) -> None:
    if label is not None and classes is not None and label >= classes:
        raise InputError(
            f"Expected `label` in 0..{classes - 1}, the model's {classes} classes, but got "
            f"{label}: give the model the data's number of classes."
        )
