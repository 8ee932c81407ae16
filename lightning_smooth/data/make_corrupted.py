"""Making corrupted sets: CIFAR-10-C's corruptions of a test split, in the published layout."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from lightning_smooth._version import __version__
from lightning_smooth.data.corrupted import CIFAR10C, CIFAR100C, MNISTC
from lightning_smooth.data.corrupted_arrays import CorruptedArrays
from lightning_smooth.data.corrupted_files import MADE_BY, PROGRAM, MadeBy, read_made_by
from lightning_smooth.data.corruption_draws import Bytes
from lightning_smooth.data.corruption_kinds import (
    CORRUPTIONS,
    SEVERITIES,
    check_corruption,
    check_severity,
    corrupt,
)
from lightning_smooth.data.corruption_weather import Photographs, find_photographs
from lightning_smooth.errors import DataError, InputError, check_count

MAKEABLE: Final[dict[str, type[CorruptedArrays]]] = {
    module.clean_class.name: module for module in (CIFAR10C, CIFAR100C, MNISTC)
}
"""What can be made, by the name of the clean data set."""

_CHUNK = 250
_MNIST_SEVERITY = 3


@dataclass(frozen=True)
class _Job:
    """Rows of one file: some images at one severity."""

    path: Path
    corruption: str
    severity: int
    start: int
    stop: int
    first: int


class _Maker:
    """Corrupts jobs; one in each process."""

    def __init__(self, images: Bytes, seed: int, photographs: Photographs | None) -> None:
        self.images, self.seed, self.photographs = images, seed, photographs

    def run(self, job: _Job) -> int:
        """Write a job's rows and return how many there are."""
        made = corrupt(
            self.images[job.start : job.stop],
            job.corruption,
            job.severity,
            indices=range(job.start, job.stop),
            seed=self.seed,
            photographs=self.photographs,
        )
        rows = np.load(job.path, mmap_mode="r+", allow_pickle=False)
        rows[job.first + job.start : job.first + job.stop] = made
        rows.flush()
        return job.stop - job.start


def make_corrupted(
    name: str,
    root: str = "data",
    out: str | None = None,
    *,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
    seed: int = 0,
    limit: int | None = None,
    workers: int = 1,
    frost: str | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Corrupt a data set's test split and write it in the published set's layout.

    `made_by.json` beside it says that it was made, by which version, of what and how; the data
    modules read it. A run that was interrupted goes on with the corruption it was at; a later run
    with the same settings adds corruptions. Results depend on neither `workers` nor the order.

    Args:
        name: clean data set: cifar10, cifar100 or mnist.
        root: folder of all data sets.
        out: folder in which the set's own folder is made (CIFAR-10-C, ...); None for root.
        corruptions: their names; None for all that can be made.
        severities: 1..5; None for all. MNIST-C has one: None for 3.
        seed: of all draws.
        limit: at most this many images, from the first on; None for all.
        workers: processes.
        frost: folder of photographs of frost; None for those of the package imagecorruptions, or no
            frost.
        report: gets a line after each corruption.

    Returns:
        The set's folder.

    Raises:
        InputError: an argument is out of range.
        DataError: the clean data set is missing, or the folder holds another set.
    """
    module = _module(name)
    levels = _severities(module, severities)
    photographs = find_photographs(frost)
    chosen, left_out = _choose(module, corruptions, photographs)
    check_count("seed", seed, least=0)
    check_count("workers", workers)

    clean = module.clean_class(root, download=False)
    clean.prepare_data()
    clean.setup("test")
    size = len(clean.test_indices())
    count = size if limit is None else min(check_count("limit", limit), size)
    source = clean._source(train=False)
    images = source.pixels(range(count)).permute(0, 2, 3, 1).contiguous().numpy()

    folder = Path(root if out is None else out).expanduser() / module.folder_name
    wanted = MadeBy(
        program=PROGRAM,
        version=__version__,
        source=clean.name,
        source_digest=str(clean.fingerprint()["digest"]),
        images=count,
        seed=int(seed),
        severities=levels,
        parameters={},
        corruptions=[],
        left_out=left_out,
        photographs=photographs.digest if photographs and "frost" in chosen else "",
    )
    made = _resume(module, folder, wanted, chosen)
    made.write(folder)
    labels = np.tile(source.labels[:count].numpy(), module.repeats)

    def add(corruption: str, run: Callable[[Sequence[_Job]], None]) -> MadeBy:
        images_file, labels_file = _paths(module, folder, corruption)
        images_file.parent.mkdir(parents=True, exist_ok=True)
        part = images_file.with_name(f"{images_file.name}.part")
        shape = (count * module.repeats, *images.shape[1:])
        np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape).flush()
        run(list(_jobs(part, corruption, levels, count, stacked=module.repeats > 1)))
        np.save(labels_file, labels, allow_pickle=False)
        part.replace(images_file)
        table = {corruption: [list(values) for values in CORRUPTIONS[corruption].parameters]}
        return replace(
            made,
            parameters=made.parameters | table,
            corruptions=[*made.corruptions, corruption],
        )

    todo = [corruption for corruption in chosen if corruption not in made.corruptions]
    with _runner(_Maker(images, seed, photographs), workers) as run:
        for corruption in todo:
            start = time.monotonic()
            made = add(corruption, run)
            made.write(folder)
            seconds = time.monotonic() - start
            total = count * len(levels)
            report(f"{corruption}: {total} images in {seconds:.1f} s, {total / seconds:.0f}/s")
    for corruption, why in made.left_out.items():
        report(f"{corruption}: left out ({why})")
    return folder


def _module(name: str) -> type[CorruptedArrays]:
    if name not in MAKEABLE:
        raise InputError(f"Expected `name` to be one of {', '.join(MAKEABLE)}, but got {name!r}.")
    return MAKEABLE[name]


def _severities(module: type[CorruptedArrays], severities: Sequence[int] | None) -> list[int]:
    if module.repeats > 1:
        return sorted({check_severity(level) for level in severities or SEVERITIES})
    levels = [check_severity(level) for level in severities or (_MNIST_SEVERITY,)]
    if len(levels) != 1:
        raise InputError(
            f"Expected one of `severities` for {module.title}, whose files hold one, but got "
            f"{levels}: make each in an `out` of its own."
        )
    return levels


def _choose(
    module: type[CorruptedArrays], names: Sequence[str] | None, photographs: Photographs | None
) -> tuple[list[str], dict[str, str]]:
    """The corruptions to make, in the order of the table, and why others are left out."""
    impossible = {"spatter": "its parameters are not in this package"}
    if photographs is None:
        impossible["frost"] = "no photographs: give a folder, or install imagecorruptions"
    if module.image_shape[0] == 1:
        impossible |= {name: "grey images" for name, kind in CORRUPTIONS.items() if kind.colour}
    for name in names or ():
        check_corruption(name, (*CORRUPTIONS, "spatter"))
        if name in impossible:
            raise InputError(
                f"Expected `corruptions` that can be made of {module.clean_class.name}, but got "
                f"{name} ({impossible[name]}): leave it out."
            )
    chosen = [name for name in CORRUPTIONS if name in (names or CORRUPTIONS)]
    return [name for name in chosen if name not in impossible], impossible


def _resume(
    module: type[CorruptedArrays], folder: Path, wanted: MadeBy, chosen: Sequence[str]
) -> MadeBy:
    """What was made so far.

    Raises:
        DataError: the folder holds a set of other settings, or one that was not made here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = read_made_by(module.title, folder)
    if made is None:
        if any(folder.rglob("*.npy")):
            raise DataError(
                f"{module.title}: {folder} holds a set without {MADE_BY}, so it was not made here: "
                f"choose another `out`."
            )
        return wanted
    old, new = made.settings(), wanted.settings()
    if old != new:
        told = "; ".join(f"{key} {old[key]}, now {new[key]}" for key in old if old[key] != new[key])
        raise DataError(
            f"{module.title}: {folder} holds a set made with other settings ({told}): choose "
            f"another `out`, or delete that folder."
        )
    # A list left by an interrupted run of another machine may name files that are not here.
    there = [c for c in made.corruptions if _paths(module, folder, c)[0].is_file()]
    if "frost" in there and wanted.photographs and made.photographs != wanted.photographs:
        raise DataError(
            f"{module.title}: {folder} has frost of other photographs: choose another `out`, or "
            f"delete that folder."
        )
    return replace(
        made,
        corruptions=there,
        left_out={k: why for k, why in wanted.left_out.items() if k not in there},
        photographs=wanted.photographs or made.photographs,
    )


def _paths(module: type[CorruptedArrays], folder: Path, corruption: str) -> tuple[Path, Path]:
    options: dict[str, Any] = {"severity": 1} if module.repeats > 1 else {}
    return module(corruption=corruption, folder=str(folder), **options)._files()


def _jobs(
    path: Path, corruption: str, severities: Sequence[int], count: int, *, stacked: bool
) -> Iterator[_Job]:
    for severity in severities:
        first = (severity - 1) * count if stacked else 0
        for start in range(0, count, _CHUNK):
            yield _Job(path, corruption, severity, start, min(start + _CHUNK, count), first)


_makers: list[_Maker] = []  # of a process that only makes


def _begin(maker: _Maker) -> None:
    _makers.append(maker)


def _work(job: _Job) -> int:
    return _makers[-1].run(job)


@contextmanager
def _runner(maker: _Maker, workers: int) -> Iterator[Callable[[Sequence[_Job]], None]]:
    """Give what runs jobs: here, or in processes of their own."""
    if workers == 1:

        def run(jobs: Sequence[_Job]) -> None:
            for job in jobs:
                maker.run(job)

        yield run
        return
    # A fork starts at once and does without torch; elsewhere each process imports everything.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(workers, context, _begin, (maker,)) as pool:

        def share(jobs: Sequence[_Job]) -> None:
            for done in as_completed([pool.submit(_work, job) for job in jobs]):
                done.result()

        yield share
