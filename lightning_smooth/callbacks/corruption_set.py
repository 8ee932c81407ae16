"""Which corrupted set is evaluated: its corruptions and severities on disk, and their images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from lightning_smooth.data.base import ImageDataModule
from lightning_smooth.data.corrupted import CORRUPTED_MODULES, MNIST_NAMES, ImageNetC
from lightning_smooth.data.corrupted_arrays import CorruptedArrays
from lightning_smooth.data.corrupted_files import MadeBy, read_made_by
from lightning_smooth.data.corruption_kinds import (
    CORRUPTIONS,
    SEVERITIES,
    check_corruption,
    check_severity,
)
from lightning_smooth.errors import DataError, InputError

Corrupted = CorruptedArrays | ImageNetC
"""The data module of one corruption at one severity."""

BENCHMARK: Final = tuple(CORRUPTIONS)[:15]
"""The corruptions over which accuracy on CIFAR-10-C is usually averaged."""


class CorruptedSet:
    """A corrupted set beside the clean one that an experiment is of.

    Args:
        name: one of `CORRUPTED_MODULES`.
        clean: the experiment's data, which were corrupted.
        root: folder that the corrupted set's own folder lies in; None for the clean set's root.
        corruptions: their names; None for those of the benchmark that are there.
        severities: 1..5; None for all that are there.

    Attributes:
        title: its name, for people.
        corruptions: those to be evaluated.
        severities: likewise; [None] for a set that does not say.
        left_out: why corruptions of the benchmark are not among them.

    Raises:
        InputError: a corruption or severity is not known, or the set is none of the clean data.
        DataError: the set, or what was asked for of it, is missing or damaged; the message has the
            command that makes it.
    """

    def __init__(
        self,
        name: str,
        clean: ImageDataModule,
        root: str | None,
        corruptions: Sequence[str] | None,
        severities: Sequence[int] | None,
    ) -> None:
        self.kind = check_set(name)
        self.clean = clean
        self.title = self.kind.title
        self.root = Path(clean.root if root is None else root).expanduser()
        check_chosen(name, corruptions, severities)
        self._check_clean()
        self._source: ImageDataModule | None = None
        first = self.module(self.kind.corruption_names[0], 1)
        self.folder = Path(first.folder)
        self._unpack()
        made = None if self.kind is ImageNetC else read_made_by(self.title, self.folder)
        names = self._benchmark(made) if corruptions is None else list(corruptions)
        self.severities = self._levels(made, severities)
        there = [c for c in names if self.module(c, self.severities[0] or 1).is_there()]
        self.corruptions = there if corruptions is None and there else names
        missing = [c for c in names if c not in self.corruptions]
        why = {} if made is None else made.left_out
        self.left_out = {c: why.get(c, "not in the set") for c in missing}
        for corruption in self.corruptions:
            for severity in self.severities:
                module = self.module(corruption, severity)
                if not module.is_there():
                    module.prepare_data()  # says what is missing, and how to get it

    def module(self, corruption: str, severity: int | None) -> Corrupted:
        """The data module of one corruption at one severity; nothing is read yet."""
        options: dict[str, Any] = {"corruption": corruption, "download": False}
        if self.severe:
            options["severity"] = severity
        folder = self.root / (
            "ImageNet-C" if not issubclass(self.kind, CorruptedArrays) else self.kind.folder_name
        )
        module = self.kind(str(self.clean.root), folder=str(folder), **options)
        if isinstance(module, ImageNetC):
            module._labels = getattr(self.clean, "_labels", {})
            module.num_classes = self.clean.num_classes
            module._class_names = self.clean._class_names
        elif self._source is not None:  # its labels are read once
            module._clean = self._source
        return module

    @property
    def severe(self) -> bool:
        """Whether the set has several severities."""
        return not issubclass(self.kind, CorruptedArrays) or self.kind.repeats > 1

    def chosen(self, corruption: str, severity: int | None, images: int | None) -> Corrupted:
        """The data module of one cell, with `images` test images, evenly spaced; None for all.

        Raises:
            DataError: a file is missing or damaged, or its labels are not the clean set's.
        """
        module = self.module(corruption, severity)
        module.setup("test")
        if isinstance(module, CorruptedArrays) and self._source is None:
            self._source = module._clean
        module.skip, module.limit = spacing(len(module.test_indices()), images)
        return module

    def _check_clean(self) -> None:
        expected = "imagenet"
        if issubclass(self.kind, CorruptedArrays):
            expected = self.kind.clean_class.name
        if self.clean.name != expected or self.clean.attack is not None:
            found = f"{self.clean.title} under an attack" if self.clean.attack else self.clean.title
            raise InputError(
                f"Expected the clean {expected} as data beside corruptions.data = "
                f"{self.kind.name}, but got {found}: give the experiment's own data, or another "
                "corruptions.data."
            )

    def _unpack(self) -> None:
        if issubclass(self.kind, CorruptedArrays):
            options: dict[str, Any] = {"severity": 1} if self.severe else {}
            name = self.kind.corruption_names[0]
            self.kind(str(self.root), corruption=name, **options).unpack()

    def _benchmark(self, made: MadeBy | None) -> list[str]:
        if self.severe or made is not None:
            return list(BENCHMARK)
        return [name for name in MNIST_NAMES if name != "identity"]

    def _levels(self, made: MadeBy | None, asked: Sequence[int] | None) -> list[int | None]:
        if asked or made is not None:
            return [*sorted(asked or (made.severities if made else ()))]
        return list(SEVERITIES) if self.severe else [None]


def check_set(name: str) -> type[Corrupted]:
    """Return the class of a corrupted set by its name.

    Raises:
        InputError: there is none.
    """
    if name not in CORRUPTED_MODULES:
        known = ", ".join(CORRUPTED_MODULES)
        raise InputError(f"Expected `corruptions.data` to be one of {known}, but got {name!r}.")
    return CORRUPTED_MODULES[name]


def check_chosen(
    name: str, corruptions: Sequence[str] | None, severities: Sequence[int] | None
) -> None:
    """Check what is asked for of a set.

    Raises:
        InputError: a corruption or severity is not known, is given twice, or cannot be chosen.
    """
    kind = check_set(name)
    for corruption in corruptions or ():
        check_corruption(corruption, kind.corruption_names)
    for severity in severities or ():
        check_severity(severity)
    for given, what in ((corruptions, "corruptions"), (severities, "severities")):
        if given is not None and (not given or len(set(given)) < len(given)):
            raise InputError(f"Expected `{what}` to name some, each once, but got {list(given)}.")
    if severities and issubclass(kind, CorruptedArrays) and kind.repeats == 1:
        raise InputError(
            f"Expected no `severities` of {kind.title}, whose files hold one, but got "
            f"{list(severities)}: make each severity in a folder of its own, and give its root."
        )


def spacing(size: int, images: int | None) -> tuple[int, int | None]:
    """The `skip` and `limit` that choose `images` of `size`, evenly spaced; (1, None) for all.

    >>> spacing(10000, 500), spacing(10, 20), spacing(10, None)
    ((20, 500), (1, None), (1, None))
    """
    if images is None or images >= size:
        return 1, None
    return size // images, images


def selected(data: ImageDataModule) -> dict[str, int | None]:
    """Which test images of `data` are chosen, as headers of records say it."""
    return {"skip": data.skip, "limit": data.limit, "images": len(data.test_indices())}


def same_labels(module: ImageDataModule, clean: ImageDataModule) -> None:
    """Check that the chosen images of a corrupted set have the clean ones' labels.

    Raises:
        DataError: one has not.
    """
    for index in module.test_indices()[:: max(1, len(module.test_indices()) // 50)]:
        ours, theirs = module.test_item(index)[1], clean.test_item(index)[1]
        if ours != theirs:
            raise DataError(
                f"{module.title}: image {index} has the label {ours}, and {theirs} in "
                f"{clean.title}: the corrupted set is not of this data set."
            )
