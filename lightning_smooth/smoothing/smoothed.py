"""The smoothed classifier g: a base model under a law of noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast, get_args
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lightning_smooth.arithmetic import full_float32
from lightning_smooth.errors import InputError, check_count
from lightning_smooth.smoothing.checks import check_function, check_mode
from lightning_smooth.smoothing.execution import Execution, Speed, prepare, trial_images
from lightning_smooth.smoothing.laws import Law
from lightning_smooth.smoothing.plans import Draws, Plan, T, Tally, votes
from lightning_smooth.smoothing.queue import DrawQueue
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey
from lightning_smooth.smoothing.sharing import Share
from lightning_smooth.types import Precision

_LONG = 10_000
"""Draws of an image from which on a warm-up pays."""

_CHECKED: WeakKeyDictionary[nn.Module, object] = WeakKeyDictionary()
"""Models that were seen to answer each image by itself, and what they were made of then."""


class SmoothedClassifier:
    """g(x) = argmax_c P(f(x + e) = c), e drawn from `law` (Cohen et al. 2019, section 3).

    Args:
        model: f: images (B, C, H, W) in [0, 1] -> scores (B, K), of each image by itself. It stays
            where it is (device, dtype) and is evaluated in eval mode, without gradients; a
            surrounding autocast has no influence.
        law: the noise.
        batch_size: noisy copies in a forward pass; None to choose.
        precision: arithmetic of the model: `float32` leaves it in the dtype of its weights,
            without TF32 and whatever else torch was told to round products to, `bf16` runs it
            under autocast. The two are different classifiers.
        speed: how the model is run.
        share: splits each image's draws with other processes; None to make all of them here.

    Raises:
        InputError: `batch_size` is below 1, the precision is not known, or `model` is no module.
    """

    def __init__(
        self,
        model: nn.Module,
        law: Law,
        *,
        batch_size: int | None = None,
        precision: Precision = "float32",
        speed: Speed | None = None,
        share: Share | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(
                f"Expected `model` to be a torch.nn.Module, but got {type(model).__name__}: make "
                "it the forward of one."
            )
        self.model = model
        self.law = law
        self.batch_size = (
            batch_size if batch_size is None else check_count("batch_size", batch_size)
        )
        self.precision = check_precision(precision)
        self.speed = speed or Speed()
        self.share = share
        self.execution: Execution | None = None

    def run(
        self,
        plans: Iterable[Plan[T]],
        shape: tuple[int, ...],
        *,
        tally: Tally = votes,
        most: int = 0,
    ) -> Iterator[tuple[T, float]]:
        """Run plans, the draws of several sharing one forward pass.

        Args:
            plans: any number of them; each is started when there is room for it.
            shape: (C, H, W) of their images.
            tally: what a draw adds to the sums that plans are sent.
            most: draws that a plan may ask for; where they are many, it is measured first how
                the model runs fastest.

        Yields:
            What a plan returned and the seconds that it took, in the order in which they end.
        """
        reference = _reference(self.model)
        with self._certifying(reference.device):
            example = torch.zeros(shape, dtype=reference.dtype, device=reference.device)
            self._check(trial_images(example))
            self.execution = prepare(
                self.model,
                example,
                batch_size=self.batch_size,
                speed=self.speed,
                long=most >= _LONG,
            )
        queue: DrawQueue[T] = DrawQueue(
            self.execution.model,
            self.law,
            device=reference.device,
            dtype=reference.dtype,
            batch_size=self.execution.batch_size,
            channels_last=self.execution.channels_last,
            full=self.execution.compiled,
            tally=tally,
            share=self.share,
        )
        queue.feed(plans)
        while True:
            # Left before every yield: the caller's own modes hold there.
            with self._certifying(reference.device):
                results = queue.advance()
            if not results:
                return
            yield from results

    def _check(self, images: Tensor) -> None:
        check_mode(self.model)
        made_of = self.precision, _structure(self.model)
        if _CHECKED.get(self.model) != made_of:
            check_function(self.model, images, precision=self.precision)
            _CHECKED[self.model] = made_of

    def votes(self, image: Tensor, key: NoiseKey, n: int) -> Tensor:
        """Count the classes of `n` draws.

        Args:
            image: (C, H, W) in [0, 1].
            key: whose draws.
            n: how many, at least 1.

        Returns:
            (K,) int64 counts that add up to `n`.
        """
        check_count("n", n)

        def plan() -> Plan[Tensor]:
            return (yield Draws(image, key, 0, n))

        ((counts, _),) = self.run([plan()], tuple(image.shape))
        return counts

    @contextmanager
    def _certifying(self, device: torch.device) -> Iterator[None]:
        """Set modes and arithmetic as the certificate says, and put them back."""
        bf16 = self.precision == "bf16"
        arithmetic = torch.autocast(device.type, torch.bfloat16, enabled=bf16)
        with evaluating(self.model), full_float32(), arithmetic:
            yield

    @property
    def arithmetic(self) -> dict[str, str | bool]:
        """What certificates say of the arithmetic of the model, once it has run."""
        done = self.execution
        said: dict[str, str | bool] = {"precision": self.precision}
        dtype = _reference(self.model).dtype
        if dtype != torch.float32:
            said["dtype"] = str(dtype).removeprefix("torch.")
        if done is not None and done.folded:
            said["batchnorm"] = "folded"
        if done is not None and done.compiled:
            said["compiled"] = True
        return said

    @property
    def drawing(self) -> dict[str, Any]:
        """What certificates say of the draws, once they were made, and of their arithmetic."""
        return {"block": BLOCK, "generator": self.law.generator(self.device), **self.arithmetic}

    @property
    def roundoff(self) -> float:
        """What rounding one score may move it by, as a share of it."""
        dtype = torch.bfloat16 if self.precision == "bf16" else _reference(self.model).dtype
        return torch.finfo(dtype).eps / 2

    @property
    def device(self) -> torch.device:
        """Where the model is, and so where the draws are made."""
        return _reference(self.model).device


def check_precision(precision: str) -> Precision:
    """Return a precision, if it is one.

    Raises:
        InputError: it is not.
    """
    for known in get_args(Precision):
        if precision == known:
            return cast(Precision, known)
    raise InputError(f"Expected `precision` to be float32 or bf16, but got {precision!r}.")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module into eval mode, without gradients, and back as each was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _reference(model: nn.Module) -> Tensor:
    tensors = [*model.parameters(), *model.buffers()]
    floating = (tensor for tensor in tensors if tensor.is_floating_point())
    return next(floating, torch.empty(0))


def _structure(model: nn.Module) -> tuple[tuple[int, type, bool], ...]:
    """The modules of a model, and which of them take their statistics from the batch."""
    return tuple(
        (id(module), type(module), getattr(module, "running_mean", True) is None)
        for module in model.modules()
    )
