"""Draws of many images in one forward batch.

Plans of several images run at once. Each batch takes draws from the oldest plan that waits for
some, then from the next; a plan that has its answer gives up its place. What is counted for a
plan depends on its draws alone: never on what shared a batch with them, but for scores that are
equal to within float rounding.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeAlias

import torch
from torch import Tensor

from lightning_smooth.errors import InputError
from lightning_smooth.smoothing.checks import check_logits
from lightning_smooth.smoothing.execution import laid_out, trial_images
from lightning_smooth.smoothing.laws import Law
from lightning_smooth.smoothing.plans import Draws, Plan, T, Tally, votes
from lightning_smooth.smoothing.rng import BLOCK
from lightning_smooth.smoothing.sharing import Share


@dataclass(eq=False)
class _Job(Generic[T]):
    """A plan that is under way: what it asked for, and what is counted already."""

    plan: Plan[T]
    ask: Draws
    image: Tensor
    at: int
    end: int
    muted: bool = False
    counts: Tensor | None = None
    seconds: float = 0.0
    noise: list[Tensor] = field(default_factory=list)

    @property
    def drawn(self) -> bool:
        """Whether every draw of the ask has been taken into a batch."""
        return self.at >= self.end


_Piece: TypeAlias = tuple[_Job[T], Tensor, Tensor | None]
"""Noisy copies of a job's image, and which of them are lost."""


class DrawQueue(Generic[T]):
    """Runs plans over one model, several at a time.

    Args:
        model: images (B, C, H, W) -> scores (B, K). Called without gradients, in the arithmetic
            and the modes that the caller sets.
        law: the noise.
        device: where the draws are made.
        dtype: what the noisy images are rounded to for the model: that rounding is part of it.
        batch_size: draws in a forward pass.
        channels_last: whether batches stay channels last in memory.
        full: whether the last batch is filled up with zeros, so that all have one shape.
        tally: what a draw adds to the sums.
        share: splits the draws of every ask with other processes, which run the same plans in
            the same order, one at a time; None to draw all of them here.
    """

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        law: Law,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        batch_size: int = BLOCK,
        channels_last: bool = False,
        full: bool = False,
        tally: Tally = votes,
        share: Share | None = None,
    ) -> None:
        self.model = model
        self.law = law
        self.device = device
        self.dtype = dtype
        self.batch_size = batch_size
        self.channels_last = channels_last
        self.full = full
        self.tally = tally
        self.share = share
        self._plans: Iterator[Plan[T]] = iter(())
        self._exhausted = True
        self._jobs: deque[_Job[T]] = deque()
        self._results: list[tuple[T, float]] = []
        self._planning = 0.0

    def feed(self, plans: Iterable[Plan[T]]) -> None:
        """Take plans; each is started when a batch has room for it."""
        self._plans = iter(plans)
        self._exhausted = False

    def advance(self) -> list[tuple[T, float]]:
        """Run batches until a plan has returned.

        Returns:
            What was returned, with the seconds that it took; nothing when all plans are done.

        Raises:
            InputError: the model's answer has a wrong shape, or no draw of an ask had finite
                scores.
        """
        while not self._results:
            start = self._clock()
            pieces = self._fill()
            if not pieces:
                break
            self._forward(pieces)
            spent = self._clock() - start
            total = sum(len(images) for _, images, _ in pieces)
            for job, images, _ in pieces:
                job.seconds += spent * len(images) / total
            for job in dict.fromkeys(job for job, *_ in pieces):
                if job.drawn:
                    self._answer(job)
        results, self._results = self._results, []
        return results

    def _clock(self) -> float:
        """Seconds, without those that plans take themselves, which are each its own."""
        return time.perf_counter() - self._planning

    def _fill(self) -> list[_Piece[T]]:
        """Take up to `batch_size` draws, the oldest plan's first."""
        pieces: list[_Piece[T]] = []
        room = self.batch_size
        place = 0
        while room > 0 and self._has(place):
            job = self._jobs[place]
            while room > 0 and not job.drawn:
                images, lost = self._take(job, room)
                pieces.append((job, images, lost))
                room -= len(images)
            place += 1
        return pieces

    def _has(self, place: int) -> bool:
        """Whether there is a job at `place`, starting another plan if need be."""
        lockstep = self.share is not None and bool(self._jobs)
        while place >= len(self._jobs) and not self._exhausted and not lockstep:
            plan = next(self._plans, None)
            if plan is None:
                self._exhausted = True
            else:
                self._send(plan, None, 0.0)
        return place < len(self._jobs)

    def _take(self, job: _Job[T], room: int) -> tuple[Tensor, Tensor | None]:
        """Draw the next noisy copies of a job: at most `room`, all of one block; which are lost."""
        block, inside = divmod(job.at, BLOCK)
        last = min(BLOCK, job.end - block * BLOCK)
        if not job.noise:
            image = job.image
            shape = (image.shape[0], image.shape[1], image.shape[2])
            job.noise = [self.law.block(job.ask.key, block, shape, self.device, draws=last)]
        noise = job.noise[0][inside : min(last, inside + room)]
        job.at += len(noise)
        if inside + len(noise) == last:
            job.noise = []
        return self.law.perturb(job.image, noise), self.law.lost(noise)

    def _forward(self, pieces: list[_Piece[T]]) -> None:
        batch = torch.cat([images for _, images, _ in pieces]) if len(pieces) > 1 else pieces[0][1]
        inputs = batch.to(self.dtype)
        if self.full and len(batch) < self.batch_size:
            rest = inputs.new_zeros((self.batch_size - len(batch), *inputs.shape[1:]))
            inputs = torch.cat([inputs, rest])
        inputs = laid_out(inputs, channels_last=self.channels_last)
        added = self.tally(check_logits(self.model(inputs), len(inputs)))
        start = 0
        for job, images, lost in pieces:
            each = added[start : start + len(images)]
            counts = (each if lost is None else each * ~lost[:, None]).sum(dim=0)
            start += len(images)
            counts = torch.zeros_like(counts) if job.muted else counts
            job.counts = counts if job.counts is None else job.counts + counts

    def _answer(self, job: _Job[T]) -> None:
        """Send a plan the counts that it asked for; keep its place for what it asks next."""
        start = self._clock()
        if job.counts is None:
            raise InputError(f"Expected `count` to be at least 1, but got {job.ask.count}.")
        counts = job.counts if self.share is None else self.share.total(job.counts)
        counts = counts.cpu()
        if not bool(counts.any()):
            self._no_scores(job)
        place = self._jobs.index(job)
        del self._jobs[place]
        self._send(job.plan, counts, job.seconds + self._clock() - start, place)

    def _no_scores(self, job: _Job[T]) -> None:
        """Let an image go without a vote, unless the model has no scores for any image."""
        said = (
            f"The model gave no finite scores for any of {job.ask.count} noisy copies of image "
            f"{job.ask.key.index}"
        )
        trial = laid_out(trial_images(job.image.to(self.dtype)), channels_last=self.channels_last)
        if self.full:
            trial = trial.repeat(-(-self.batch_size // len(trial)), 1, 1, 1)[: self.batch_size]
        # Sums of scores, or their bits, would pass for those of an image with low scores.
        if self.tally is not votes or not bool(self.model(trial).isfinite().all()):
            raise InputError(f"{said}: its weights are damaged, or it overflows in its dtype.")
        warnings.warn(f"{said}: it cannot be certified.", stacklevel=2)

    def _send(
        self, plan: Plan[T], counts: Tensor | None, seconds: float, place: int | None = None
    ) -> None:
        start = self._clock()
        stopped: StopIteration | None = None
        try:
            ask = next(plan) if counts is None else plan.send(counts)
        except StopIteration as stop:
            stopped = stop
        spent = self._clock() - start
        self._planning += spent
        if stopped is not None:
            self._results.append((stopped.value, seconds + spent))
            return
        image = ask.image.to(self.device)
        image = image.to(torch.promote_types(image.dtype, torch.float32))
        first, end = ask.first, ask.first + ask.count
        if self.share is not None:
            first, end = self.share.part(first, end)
        # A process without a part of its own makes one draw, to know the number of classes.
        muted = first >= end
        job = _Job(plan, ask, image, first, end + muted, muted=muted, seconds=seconds + spent)
        self._jobs.insert(len(self._jobs) if place is None else place, job)
