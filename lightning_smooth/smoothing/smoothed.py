"""The smoothed classifier g: a base model under a law of noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import cast, get_args
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lightning_smooth.errors import InputError, check_count
from lightning_smooth.smoothing.laws import Law
from lightning_smooth.smoothing.plans import Draws, Plan, T, Tally, votes
from lightning_smooth.smoothing.queue import DrawQueue
from lightning_smooth.smoothing.rng import BLOCK, NoiseKey
from lightning_smooth.smoothing.sharing import Share
from lightning_smooth.types import Precision


class SmoothedClassifier:
    """g(x) = argmax_c P(f(x + e) = c), e drawn from `law` (Cohen et al. 2019, section 3).

    Args:
        model: f: images (B, C, H, W) in [0, 1] -> scores (B, K). It stays where it is (device,
            dtype) and is evaluated in eval mode, without gradients; a surrounding autocast
            has no influence.
        law: the noise.
        batch_size: noisy copies in a forward pass.
        precision: arithmetic of the model: `float32` leaves it in the dtype of its weights,
            without TF32, `bf16` runs it under autocast. The two are different classifiers.
        share: splits each image's draws with other processes; None to make all of them here.

    Raises:
        InputError: `batch_size` is below 1, or the precision is not known.
    """

    def __init__(
        self,
        model: nn.Module,
        law: Law,
        *,
        batch_size: int = BLOCK,
        precision: Precision = "float32",
        share: Share | None = None,
    ) -> None:
        self.model = model
        self.law = law
        self.batch_size = check_count("batch_size", batch_size)
        self.precision = check_precision(precision)
        self.share = share

    def run(
        self, plans: Iterable[Plan[T]], shape: tuple[int, ...], *, tally: Tally = votes
    ) -> Iterator[tuple[T, float]]:
        """Run plans, the draws of several sharing one forward pass.

        Args:
            plans: any number of them; each is started when there is room for it.
            shape: (C, H, W) of their images.
            tally: what a draw adds to the sums that plans are sent.

        Yields:
            What a plan returned and the seconds that it took, in the order in which they end.
        """
        reference = _reference(self.model)
        queue: DrawQueue[T] = DrawQueue(
            self.model,
            self.law,
            device=reference.device,
            dtype=reference.dtype,
            batch_size=self.batch_size,
            tally=tally,
            share=self.share,
        )
        queue.feed(plans)
        while True:
            # Left before every yield: the caller's own modes hold there.
            with self._certifying(reference, shape) as layout:
                queue.layout = layout
                results = queue.advance()
            if not results:
                return
            yield from results

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
    def _certifying(
        self, reference: Tensor, shape: tuple[int, ...]
    ) -> Iterator[torch.memory_format]:
        """Set modes and arithmetic as the certificate says, and put them back."""
        bf16 = self.precision == "bf16"
        arithmetic = torch.autocast(reference.device.type, torch.bfloat16, enabled=bf16)
        with evaluating(self.model), _full_float32(), arithmetic:
            example = torch.zeros(shape, dtype=reference.dtype, device=reference.device)
            last = _takes_channels_last(self.model, example)
            yield torch.channels_last if last else torch.contiguous_format

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


@contextmanager
def _full_float32() -> Iterator[None]:
    """Keep TF32 out of float32 convolutions and matrix products on a GPU, and put it back."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    try:
        cudnn.allow_tf32 = matmul.allow_tf32 = False
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


_CHANNELS_LAST: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _takes_channels_last(model: nn.Module, image: Tensor) -> bool:
    """Whether the faster layout works: a model that calls `view` on its features refuses it."""
    if model not in _CHANNELS_LAST:
        batch = image.expand(2, *image.shape).contiguous(memory_format=torch.channels_last)
        try:
            model(batch)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            _CHANNELS_LAST[model] = False
        else:
            _CHANNELS_LAST[model] = True
    return _CHANNELS_LAST[model]
