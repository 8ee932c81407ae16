"""What a running evaluation shows: images, rate, time left, and the figure so far."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.certificate import Certificate

_EVERY_SECONDS = 30.0


R = TypeVar("R")


class EvaluationProgress(ABC, Generic[R]):
    """A bar on a terminal; a line now and then where output goes to a file.

    Args:
        total: images that this process will measure.
        console: where to write; standard error by default.
    """

    verb = "evaluate"

    def __init__(self, total: int, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.total = total
        self.images = 0
        self._start = self._said = time.perf_counter()
        self._bar: Progress | None = None
        if self.console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn(self.verb),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[line]}"),
                TimeElapsedColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task(self.verb, total=total, line="")
            self._bar.start()

    @abstractmethod
    def count(self, one: R) -> None:
        """Count what was measured for an image."""

    @abstractmethod
    def said(self, elapsed: float) -> tuple[str, str]:
        """The rate of work, and the figure so far, after some seconds."""

    def update(self, one: R) -> None:
        """Count one more image."""
        self.images += 1
        self.count(one)
        now = time.perf_counter()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.images, line=self.line())
        elif now - self._said > _EVERY_SECONDS:
            self._say(now)

    def line(self) -> str:
        """Rate, time left and the figure so far, in one line."""
        elapsed = max(time.perf_counter() - self._start, 1e-9)
        left = elapsed / max(self.images, 1) * (self.total - self.images)
        rate, figure = self.said(elapsed)
        return f"{rate}, {_clock(left)} left, {figure}"

    def stop(self) -> None:
        """Take the bar down; say how far it came where there was none."""
        if self._bar is not None:
            self._bar.stop()
        elif self.images:
            self._say(time.perf_counter())

    def _say(self, now: float) -> None:
        self._said = now
        line = f"{self.verb}: {self.images}/{self.total} images, {self.line()}"
        self.console.print(line, highlight=False, soft_wrap=True)


class CertificationProgress(EvaluationProgress[Certificate]):
    """Draws per second, time left, and certified accuracy so far.

    Args:
        total: images that this process will certify.
        radii: radii at which the running certified accuracy is shown.
        console: where to write; standard error by default.
    """

    verb = "certify"

    def __init__(self, total: int, radii: Sequence[float], console: Console | None = None) -> None:
        self.radii = tuple(radii)
        self.draws = 0
        self.held = [0] * len(self.radii)
        super().__init__(total, console)

    def count(self, one: Certificate) -> None:
        """See `EvaluationProgress.count`."""
        self.draws += one.n0 + one.n
        for place, radius in enumerate(self.radii):
            self.held[place] += one.holds_at(radius)

    def said(self, elapsed: float) -> tuple[str, str]:
        """See `EvaluationProgress.said`."""
        held = ", ".join(
            f"{count / max(self.images, 1):.3f} at r={radius:g}"
            for radius, count in zip(self.radii, self.held, strict=True)
        )
        return f"{self.draws / elapsed:,.0f} draws/s", f"certified accuracy so far {held}"


class AttackProgress(EvaluationProgress[AttackOutcome]):
    """Queries per second, time left, and accuracy without and under attack so far."""

    verb = "attack"

    def __init__(self, total: int, console: Console | None = None) -> None:
        self.queries = self.right = self.withstood = 0
        super().__init__(total, console)

    def count(self, one: AttackOutcome) -> None:
        """See `EvaluationProgress.count`."""
        self.queries += one.queries or one.tried
        self.right += one.clean == one.label
        self.withstood += one.withstood

    def said(self, elapsed: float) -> tuple[str, str]:
        """See `EvaluationProgress.said`."""
        clean, attacked = (k / max(self.images, 1) for k in (self.right, self.withstood))
        figure = f"accuracy so far {clean:.3f}, under attack {attacked:.3f}"
        return f"{self.queries / elapsed:,.0f} queries/s", figure


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> _clock(3725)
    '1:02:05'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
