"""What a running certification shows: images, draws/s, time left, running certified accuracy."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from lightning_smooth.records.certificate import Certificate

_EVERY_SECONDS = 30.0


class CertificationProgress:
    """A bar on a terminal; a line now and then where output goes to a file.

    Args:
        total: images that this process will certify.
        radii: radii at which the running certified accuracy is shown.
        console: where to write; standard error by default.
    """

    def __init__(self, total: int, radii: Sequence[float], console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.total = total
        self.radii = tuple(radii)
        self.images = self.draws = 0
        self.held = [0] * len(self.radii)
        self._start = self._said = time.perf_counter()
        self._bar: Progress | None = None
        if self.console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("certify"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[line]}"),
                TimeElapsedColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task("certify", total=total, line="")
            self._bar.start()

    def update(self, certificate: Certificate) -> None:
        """Count one more image."""
        self.images += 1
        self.draws += certificate.n0 + certificate.n
        for place, radius in enumerate(self.radii):
            self.held[place] += certificate.holds_at(radius)
        now = time.perf_counter()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.images, line=self.line())
        elif now - self._said > _EVERY_SECONDS:
            self._say(now)

    def line(self) -> str:
        """Draws per second, time left and running certified accuracy, in one line."""
        elapsed = max(time.perf_counter() - self._start, 1e-9)
        left = elapsed / max(self.images, 1) * (self.total - self.images)
        held = ", ".join(
            f"{count / max(self.images, 1):.3f} at r={radius:g}"
            for radius, count in zip(self.radii, self.held, strict=True)
        )
        rate = self.draws / elapsed
        return f"{rate:,.0f} draws/s, {_clock(left)} left, certified accuracy so far {held}"

    def stop(self) -> None:
        """Take the bar down; say how far it came where there was none."""
        if self._bar is not None:
            self._bar.stop()
        elif self.images:
            self._say(time.perf_counter())

    def _say(self, now: float) -> None:
        self._said = now
        line = f"certify: {self.images}/{self.total} images, {self.line()}"
        self.console.print(line, highlight=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> _clock(3725)
    '1:02:05'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
