"""What every certifier is: an algorithm from (model, image) to a certificate."""

from __future__ import annotations

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError, SoundnessError, check_count, check_probability
from lightning_smooth.maths.ledger import check_ledger
from lightning_smooth.models.stochastic import is_stochastic
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.checks import check_image
from lightning_smooth.smoothing.execution import Speed
from lightning_smooth.smoothing.laws import Law
from lightning_smooth.smoothing.plans import Plan, votes
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey
from lightning_smooth.smoothing.sharing import Share
from lightning_smooth.smoothing.smoothed import SmoothedClassifier, check_precision
from lightning_smooth.types import ABSTAIN, Precision


class Certifier(ABC):
    """An algorithm that certifies images from the draws of a smoothed classifier.

    A subclass writes `_plan`, which asks for draws and returns the certificate, `_settings` and
    `for_validation`. The public calls validate what comes in, run the plans, and check what goes
    out.

    Args:
        law: the noise under which the model is smoothed.
        alpha: probability with which a certificate may be wrong; 0 where nothing is drawn.
        seed: seed of the noise.
        batch_size: noisy copies in a forward pass, None to choose; the counts do not depend on
            it, but for scores that are equal to within rounding.
        precision: arithmetic of the model: `float32` leaves it in the dtype of its weights,
            without TF32, `bf16` runs it under autocast (another classifier: certify the one that
            is deployed).
        speed: how the model is run; None to leave it to a short warm-up.

    Raises:
        InputError: alpha is not in (0, 1), the seed below 0, the batch size below 1, or the
            precision is not known.
    """

    deterministic: ClassVar[bool] = False
    """Whether certificates rest on no draw: they have n = 0, alpha = 0 and an empty ledger."""

    def __init__(
        self,
        law: Law,
        *,
        alpha: float,
        seed: int,
        batch_size: int | None,
        precision: Precision,
        speed: Speed | None = None,
    ) -> None:
        self.law = law
        self.alpha = 0.0 if self.deterministic else check_probability("alpha", alpha)
        self.seed = check_count("seed", seed, least=0)
        self.batch_size = (
            batch_size if batch_size is None else check_count("batch_size", batch_size)
        )
        self.precision = check_precision(precision)
        self.speed = speed or Speed()

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
        labels = None if label is None else [label]
        (certificate,) = self.certify_batch(model, [image], indices=[index], labels=labels)
        return certificate

    @final
    def certify_batch(
        self,
        model: nn.Module,
        images: Iterable[Tensor],
        *,
        indices: Iterable[int],
        labels: Iterable[int] | None = None,
        share: Share | None = None,
    ) -> Iterator[Certificate]:
        """Certify images whose draws share forward passes: the same certificates, sooner.

        Args:
            model: as for the call.
            images: images (C, H, W) of one shape, floating point, in [0, 1].
            indices: the index of each.
            labels: the true class of each, if known.
            share: splits each image's draws with other processes, which certify the same images
                in the same order.

        Yields:
            A certificate as soon as it is there: not always in the order of the images.

        Raises:
            InputError: as for the call, or images of different shapes, or not as many indices or
                labels as images; or the model draws (`models.stochastic`), and the certifier
                rests on no draw or shares them.
            SoundnessError: as for the call.
        """
        images, indices = list(images), list(indices)
        truth = [None] * len(images) if labels is None else list(labels)
        if not len(images) == len(indices) == len(truth):
            raise InputError(
                f"Expected as many indices and labels as images, but got {len(images)} images, "
                f"{len(indices)} indices and {len(truth)} labels."
            )
        if len({check_image(image).shape for image in images}) > 1:
            shapes = sorted({tuple(image.shape) for image in images})
            raise InputError(f"Expected images of one shape, but got {shapes}: resize them.")
        if not images:
            return
        self._check_stochastic(model, share)
        smoothed = self.smooth(model, share)
        plans = [
            self._checked(smoothed, image, index, label)
            for image, index, label in zip(images, indices, truth, strict=True)
        ]
        with torch.no_grad():
            shape = tuple(self.encode(images[0][None].float()).shape[1:])
        for certificate, seconds in smoothed.run(plans, shape, tally=self._tally, most=self.draws):
            yield dataclasses.replace(certificate, seconds=round(seconds, 6))

    def smooth(self, model: nn.Module, share: Share | None = None) -> SmoothedClassifier:
        """The smoothed classifier of `model` that is certified.

        Args:
            model: base classifier.
            share: as for `certify_batch`.
        """
        return SmoothedClassifier(
            model,
            self.law,
            batch_size=self.batch_size,
            precision=self.precision,
            speed=self.speed,
            share=share,
        )

    def _check_stochastic(self, model: nn.Module, share: Share | None) -> None:
        if not is_stochastic(model):
            return
        if self.deterministic:
            raise InputError(
                f"Expected a model that always answers alike, but this one draws "
                f"(`stochastic = True`), and {type(self).__name__} looks at one answer: certify "
                "it with draws."
            )
        # Processes that were seeded alike would make the same draws of the model's own.
        if share is not None and share.world > 1:
            raise InputError(
                "Expected a model that always answers alike where processes share the draws of an "
                "image, but this one draws (`stochastic = True`), and they could draw alike: give "
                "each process images of its own (`shard: images`)."
            )

    def encode(self, images: Tensor) -> Tensor:
        """What noise is added to, of images (B, C, H, W): the images, unless a subclass says else.

        It is differentiable, so that attacks go through it.
        """
        return images

    def seen(self, image: Tensor, key: NoiseKey) -> Tensor:
        """What the base classifier is shown of an image (C, H, W) in the first draw of a stream."""
        clean = self.encode(image[None])[0]
        shape = (clean.shape[0], clean.shape[1], clean.shape[2])
        drawn = self.law.block(key, 0, shape, clean.device, draws=1)[:1]
        return self.law.perturb(clean, drawn)[0]

    def describe(self) -> dict[str, Any]:
        """Return the settings on which certificates depend, in plain types.

        Two certifiers of one description give the same certificates; records keep it as part of
        their fingerprint. Settings of speed alone are not in it.
        """
        return {
            **self._settings(),
            "alpha": self.alpha,
            "seed": self.seed,
            "block": BLOCK,
            "precision": self.precision,
        }

    @property
    @abstractmethod
    def draws(self) -> int:
        """Draws that one image may take."""

    @abstractmethod
    def for_validation(self, *, n0: int, n: int) -> Certifier:
        """Return a certifier of the same kind with other numbers of draws, from streams of its own.

        A model may be chosen by what it measures; the draws that then certify the model are
        independent of that choice.
        """

    @abstractmethod
    def _settings(self) -> dict[str, Any]:
        """The certifier's own part of `describe`: its `method`, and its parameters."""

    @abstractmethod
    def _plan(
        self, smoothed: SmoothedClassifier, image: Tensor, *, index: int
    ) -> Plan[Certificate]:
        """Certify one validated image; label, image and seconds are filled in afterwards."""

    _tally: Callable[[Tensor], Tensor] = staticmethod(votes)
    """What a draw adds to the sums that the plan is sent."""

    def _checked(
        self, smoothed: SmoothedClassifier, image: Tensor, index: int, label: int | None
    ) -> Plan[Certificate]:
        index = check_count("index", index, least=0)
        label = None if label is None else check_count("label", label, least=0)
        certificate = yield from self._plan(smoothed, image, index=index)
        _check_sound(certificate, deterministic=self.deterministic)
        _check_label(label, certificate.parameters.get("classes"))
        return dataclasses.replace(certificate, label=label, image=image_digest(image))


def image_digest(image: Tensor) -> str:
    """16 hex digits over an image's shape and its pixels as float32: which image was certified."""
    pixels = image.detach().to("cpu", torch.float32).contiguous()
    content = str(tuple(image.shape)).encode() + pixels.numpy().tobytes()
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def sparse(counts: Tensor) -> dict[int, int]:
    """Classes that have votes, and how many."""
    return {int(c): int(counts[c]) for c in torch.nonzero(counts).flatten()}


def _check_sound(c: Certificate, *, deterministic: bool) -> None:
    if deterministic:
        if c.n or c.hits or c.p_lower or c.alpha or c.ledger:
            raise SoundnessError("A certificate that rests on no draw spends alpha or counts some.")
    else:
        check_ledger(c.ledger, c.alpha)
        looks = [*c.looks, *(look for anchor in c.anchors for look in anchor.looks)]
        rates = [hits / n for n, hits in looks] or [c.hits / max(c.n, 1)]
        if not 0 <= c.hits <= c.n or c.p_lower > max(rates):
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
