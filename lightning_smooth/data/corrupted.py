"""CIFAR-10-C, CIFAR-100-C, MNIST-C, ImageNet-C: clean to train on, corrupted to test on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from lightning_smooth.data.cifar import CIFAR10, CIFAR100
from lightning_smooth.data.corrupted_arrays import CorruptedArrays
from lightning_smooth.data.corruption_kinds import (
    CORRUPTIONS,
    SEVERITIES,
    check_corruption,
    check_severity,
)
from lightning_smooth.data.imagenet import ImageNet
from lightning_smooth.data.mnist import MNIST
from lightning_smooth.data.sources import FileSource
from lightning_smooth.errors import DataError

PUBLISHED_NAMES: Final = (*CORRUPTIONS, "spatter")
"""The corruptions of CIFAR-10-C, CIFAR-100-C and ImageNet-C."""

MNIST_NAMES: Final = (
    *("shot_noise", "impulse_noise", "glass_blur", "motion_blur", "shear", "scale", "rotate"),
    *("brightness", "translate", "stripe", "fog", "spatter", "dotted_line", "zigzag"),
    *("canny_edges", "identity"),
)
"""The corruptions of MNIST-C, and `identity`."""


class CIFAR10C(CorruptedArrays):
    """CIFAR-10 to train on, one corruption of its 10,000 test images to test on.

    Files `root/CIFAR-10-C/<corruption>.npy`, uint8 (50000, 32, 32, 3), and `labels.npy`; image i of
    a severity is row (severity - 1) 10000 + i, and its index is i. Published, or made by
    `lightning-smooth data corrupt cifar10`; the fingerprint says which.

    Args:
        root: folder of all data sets; the clean one is needed for training alone.
        batch_size: images in a training batch.
        corruption: name of the corruption, such as gaussian_noise.
        severity: 1..5.
        **kwargs: `folder` of the corrupted set, if not root/CIFAR-10-C; see `ImageDataModule`.

    Raises:
        InputError: an argument is out of range.

    Source: Hendrycks and Dietterich 2019; THEORY section 11.
    """

    name = "cifar10c"
    title = "CIFAR-10-C"
    num_classes = 10
    image_shape = (3, 32, 32)
    _class_names = CIFAR10._class_names
    default_val_size = 5000
    clean_class = CIFAR10
    clean_folder = CIFAR10.dataset.base_folder
    folder_name = "CIFAR-10-C"
    archive_name = "CIFAR-10-C.tar"
    archive_md5 = "56bf5dcef84df0e2308c6dcbcbbd8499"
    url = "https://zenodo.org/records/2535967"
    corruption_names = PUBLISHED_NAMES
    repeats = len(SEVERITIES)

    def __init__(
        self,
        root: str = "data",
        batch_size: int = 128,
        *,
        corruption: str,
        severity: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, batch_size, corruption=corruption, **kwargs)
        self.severity = check_severity(severity)

    def _files(self) -> tuple[Path, Path]:
        return self.folder / f"{self.corruption}.npy", self.folder / "labels.npy"


class CIFAR100C(CIFAR10C):
    """CIFAR-100 to train on, one corruption of its 10,000 test images to test on.

    As `CIFAR10C`, in `root/CIFAR-100-C`.

    Args:
        root: folder of all data sets; the clean one is needed for training alone.
        batch_size: images in a training batch.
        corruption: name of the corruption, such as gaussian_noise.
        severity: 1..5.
        **kwargs: `folder` of the corrupted set, if not root/CIFAR-100-C; see `ImageDataModule`.

    Raises:
        InputError: an argument is out of range.
    """

    name = "cifar100c"
    title = "CIFAR-100-C"
    num_classes = 100
    _class_names = CIFAR100._class_names
    clean_class = CIFAR100
    clean_folder = CIFAR100.dataset.base_folder
    folder_name = "CIFAR-100-C"
    archive_name = "CIFAR-100-C.tar"
    archive_md5 = "11f0ed0f1191edbf9fa23466ae6021d3"
    url = "https://zenodo.org/records/3555552"


class MNISTC(CorruptedArrays):
    """MNIST to train on, one corruption of its 10,000 test images to test on.

    Files `root/mnist_c/<corruption>/test_images.npy`, uint8 (10000, 28, 28, 1), and
    `test_labels.npy`. There is one severity of each. The published corruptions are those of Mu and
    Gilmer; a set made by `lightning-smooth data corrupt mnist` has those of CIFAR-10-C at the
    severity that was asked for, and even those of the same name differ from the published ones.

    Args:
        root: folder of all data sets; the clean one is needed for training alone.
        batch_size: images in a training batch.
        corruption: name of the corruption, such as glass_blur.
        **kwargs: `folder` of the corrupted set, if not root/mnist_c; see `ImageDataModule`.

    Raises:
        InputError: an argument is out of range.

    Source: Mu and Gilmer 2019, MNIST-C.
    """

    name = "mnistc"
    title = "MNIST-C"
    num_classes = 10
    image_shape = (1, 28, 28)
    _class_names = MNIST._class_names
    default_val_size = 5000
    clean_class = MNIST
    clean_folder = "MNIST/raw"
    folder_name = "mnist_c"
    archive_name = "mnist_c.zip"
    archive_md5 = "4b34b33045869ee6d424616cd3a65da3"
    url = "https://zenodo.org/records/3239543"
    corruption_names = tuple(dict.fromkeys((*MNIST_NAMES, *CORRUPTIONS)))

    def _files(self) -> tuple[Path, Path]:
        folder = self.folder / self.corruption
        return folder / "test_images.npy", folder / "test_labels.npy"


class ImageNetC(ImageNet):
    """ImageNet to train on, one corruption of its 50,000 validation images to test on.

    Files `root/ImageNet-C/<corruption>/<severity>/<class>/*.JPEG`, or one folder deeper in that of
    the archive (noise, blur, weather, digital, extra). They are 224 x 224 already, so that by
    default nothing is resized or cropped. `class_list` numbers the classes as for `ImageNet`.

    Args:
        root: folder of all data sets; `root/imagenet/train` is needed for training alone.
        batch_size: images in a training batch.
        corruption: name of the corruption, such as gaussian_noise.
        severity: 1..5.
        folder: where the corrupted set lies, if not in root/ImageNet-C.
        crop: height and width of the images, in pixels.
        resize: length of the shorter side before the crop.
        **kwargs: see `ImageNet`.

    Raises:
        InputError: an argument is out of range.

    Source: Hendrycks and Dietterich 2019.
    """

    name = "imagenetc"
    title = "ImageNet-C"
    corruption_names: ClassVar[Sequence[str]] = PUBLISHED_NAMES

    def __init__(
        self,
        root: str = "data",
        batch_size: int = 128,
        *,
        corruption: str,
        severity: int,
        folder: str | None = None,
        crop: int = 224,
        resize: int = 224,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, batch_size, crop=crop, resize=resize, **kwargs)
        self.corruption = check_corruption(corruption, self.corruption_names)
        self.severity = check_severity(severity)
        self.folder = self.root / "ImageNet-C" if folder is None else Path(folder).expanduser()

    def unpack(self) -> None:
        """Do nothing: these archives are unpacked by hand."""

    def prepare_data(self) -> None:
        """Check that there is a folder of corrupted images.

        Raises:
            DataError: it is missing.
        """
        if not self._folder(train=False).is_dir():
            raise self._missing(self._folder(train=False))

    def fingerprint(self) -> dict[str, str | int]:
        """Say which test split this is, with `corruption`, `severity` and `origin` unchecked."""
        kind: dict[str, str | int] = {"corruption": self.corruption, "severity": self.severity}
        return {**super().fingerprint(), **kind, "origin": self.origin()}

    def origin(self) -> str:
        """Say "unchecked": no checksums of single files are published."""
        return "unchecked"

    def is_there(self) -> bool:
        """Say whether there is a folder of this corruption and severity."""
        return self._folder(train=False).is_dir()

    def _folder(self, *, train: bool) -> Path:
        if train:
            return super()._folder(train=True)
        part = Path(self.corruption) / str(self.severity)
        groups = sorted(self.folder.glob(f"*/{part.as_posix()}"))
        return groups[0] if groups else self.folder / part

    def _missing(self, folder: Path) -> DataError:
        if folder == super()._folder(train=True):
            return super()._missing(folder)
        return DataError(
            f"{self.title}: the folder {folder} is missing (root is {self.root}). Get the archives "
            f"(blur, digital, extra, noise, weather) from https://zenodo.org/records/2235448 and "
            f"unpack them in {self.folder}."
        )

    def _load(self, *, train: bool) -> FileSource:
        source = super()._load(train=train)
        clean = super()._folder(train=False)
        if train or not clean.is_dir():
            return source
        known = {path.name: path.parent.name for path in clean.glob("*/*")}
        for path in source.paths:
            if known.get(path.name, path.parent.name) != path.parent.name:
                raise DataError(
                    f"{self.title}: {path} is of class {known[path.name]} in {clean}: one of the "
                    f"two is not the published image; delete it and unpack its archive again."
                )
        return source


CORRUPTED_MODULES: Final[dict[str, type[CorruptedArrays | ImageNetC]]] = {
    module.name: module for module in (CIFAR10C, CIFAR100C, MNISTC, ImageNetC)
}
"""Every corrupted data set by its name."""


def describe_corrupted(name: str, root: str = "data") -> str:
    """Read and check all that lies of a corrupted data set under `root`, and describe it.

    Args:
        name: one of `CORRUPTED_MODULES`.
        root: folder of all data sets.

    Returns:
        A line for the set, and one for each corruption: its severities and its origin.

    Raises:
        DataError: nothing is there, or a file is damaged.
    """
    module = CORRUPTED_MODULES[name]
    levels: list[dict[str, Any]] = [{"severity": severity} for severity in SEVERITIES]
    if module is MNISTC:
        levels = [{}]
    found: list[str] = []
    images = 0
    first = module(root, corruption=module.corruption_names[0], **levels[0])
    first.unpack()
    for corruption in module.corruption_names:
        sets = [module(root, corruption=corruption, val_size=0, **level) for level in levels]
        ready = [data for data in sets if data.is_there()]
        for data in ready:
            if isinstance(data, CorruptedArrays) and isinstance(first, CorruptedArrays):
                data._clean = first._clean  # its labels are read once
            data.setup("test")
            images = len(data.test_indices())
        if ready:
            severities = ", ".join(str(data.severity) for data in ready if data.severity)
            at = f" at {severities}" if severities else ""
            found.append(f"  {corruption}{at}: {ready[0].origin()}")
    if not found:
        first.prepare_data()  # says what is missing
    shape = " x ".join(map(str, module.image_shape))
    head = f"{module.title} ({name}): {images} test images of {shape}, {len(found)} corruptions"
    return "\n".join([head, f"under {Path(root).resolve()}", *found])
