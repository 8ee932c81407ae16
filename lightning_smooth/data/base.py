"""What the data modules share: splits, the choice of test images, loaders, the fingerprint."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset

from lightning_smooth.data.attacked import AttackedSource, StoredAttack
from lightning_smooth.data.sources import (
    ImageBatch,
    ImageSource,
    check_labels,
    chosen,
    keep_batch,
    split,
)
from lightning_smooth.errors import InputError, check_count


class ImageDataModule(LightningDataModule):
    """Images in [0, 1] with labels and data set indices, for training, testing and certifying.

    Every loader yields (image float32 (B, C, H, W), label int64 (B,), index int64 (B,)). The index
    is the image's place in the train split (train and val loaders) or in the test split (test and
    predict loaders). Validation images come out of the train split, never out of the test split.

    A subclass names its facts (`name`, `title`, `num_classes`, `image_shape`,
    `default_val_size`, `_class_names`) and writes `prepare_data` and `_load`.

    Args:
        root: folder of all data sets; each one has its own folder in it, as torchvision lays it.
        batch_size: images in a training batch.
        eval_batch_size: images in a batch of validation, test and predict.
        num_workers: processes that load images; 0 loads in the main process.
        val_size: training images held out for validation; 0 for none, null for the data set's own
            number (digits 137, MNIST and CIFAR 5000, ImageNet 10000).
        split_seed: seed of the choice of validation images.
        skip: test and predict take the images 0, skip, 2 skip, ... of the test split.
        limit: at most this many of those; null for all.
        download: fetch what is missing under root, where the data set can be downloaded.
        attack: shows each image of the test split as this attack left it, to test and predict and
            whoever else asks for it; null for the images themselves. It is part of the fingerprint.

    Raises:
        InputError: an argument is out of range.
    """

    name: str = ""
    title: str = ""
    num_classes: int = 0
    image_shape: tuple[int, int, int] = (0, 0, 0)
    default_val_size: int = 0
    _class_names: Sequence[str] = ()

    def __init__(
        self,
        root: str = "data",
        batch_size: int = 128,
        *,
        eval_batch_size: int = 128,
        num_workers: int = 0,
        val_size: int | None = None,
        split_seed: int = 0,
        skip: int = 1,
        limit: int | None = None,
        download: bool = True,
        attack: StoredAttack | None = None,
    ) -> None:
        super().__init__()
        self.root = Path(root).expanduser()
        self.batch_size = check_count("batch_size", batch_size)
        self.eval_batch_size = check_count("eval_batch_size", eval_batch_size)
        self.num_workers = check_count("num_workers", num_workers, least=0)
        held_out = self.default_val_size if val_size is None else val_size
        self.val_size = check_count("val_size", held_out, least=0)
        self.split_seed = check_count("split_seed", split_seed, least=0)
        self.skip = check_count("skip", skip)
        self.limit = None if limit is None else check_count("limit", limit)
        self.download = download
        self.attack = attack
        self._sources: dict[bool, ImageSource] = {}
        self._excluded: frozenset[int] = frozenset()
        self._replicated = False
        self._digest = ""

    @abstractmethod
    def prepare_data(self) -> None:
        """Fetch what is missing, on one process, and check that it is there.

        Raises:
            DataError: a file is missing and could not be fetched, or is damaged.
        """

    @abstractmethod
    def _load(self, *, train: bool) -> ImageSource:
        """Read one split from disk.

        Raises:
            DataError: a file is missing or damaged.
        """

    def _augment(self, source: ImageSource) -> ImageSource:
        """Return what the training loader reads; the source itself where nothing is augmented."""
        return source

    def setup(self, stage: str | None = None) -> None:
        """Read the splits that a stage needs; nothing is downloaded.

        Args:
            stage: fit or validate for the train split, test or predict for the test split, None
                for both.

        Raises:
            DataError: a file is missing or damaged.
            InputError: `val_size` leaves no image to train on.
        """
        if stage in (None, "fit", "validate"):
            split(len(self._source(train=True)), self.val_size, seed=self.split_seed)
        if stage in (None, "test", "predict"):
            self._source(train=False)

    def train_dataloader(self) -> DataLoader[ImageBatch]:
        """Return the training images without the validation ones, shuffled."""
        source = self._source(train=True)
        indices, _ = split(len(source), self.val_size, seed=self.split_seed)
        return self._loader(Subset(self._augment(source), indices), shuffle=True)

    def val_dataloader(self) -> DataLoader[ImageBatch] | list[DataLoader[ImageBatch]]:
        """Return the held-out training images in ascending order; no loader if there are none."""
        source = self._source(train=True)
        _, indices = split(len(source), self.val_size, seed=self.split_seed)
        return self._loader(Subset(source, indices)) if indices else []

    def test_dataloader(self) -> DataLoader[ImageBatch]:
        """Return the test images that `skip` and `limit` choose."""
        return self._loader(Subset(self._source(train=False), self.test_indices()))

    def predict_dataloader(self) -> DataLoader[ImageBatch]:
        """Return the images of `test_dataloader` without those that `exclude` named."""
        indices = [index for index in self.test_indices() if index not in self._excluded]
        return self._loader(Subset(self._source(train=False), indices), replicated=self._replicated)

    @property
    def class_names(self) -> list[str]:
        """What each label means, in the order of the labels."""
        return list(self._class_names)

    def train_size(self) -> int:
        """Return the number of images in the train split, those held out included."""
        return len(self._source(train=True))

    def test_indices(self) -> list[int]:
        """List the indices that `skip` and `limit` choose from the test split, ascending."""
        return chosen(len(self._source(train=False)), skip=self.skip, limit=self.limit)

    def exclude(self, indices: Collection[int]) -> None:
        """Leave test images out of `predict_dataloader`: those already certified.

        Call it before that loader is built. A later call replaces an earlier one.

        Args:
            indices: indices into the test split; those that were not chosen do no harm.

        Raises:
            InputError: an index is not in the test split.
        """
        size = len(self._source(train=False))
        if outside := sorted(index for index in indices if not 0 <= index < size):
            raise InputError(
                f"Expected `indices` in 0..{size - 1}, the test split of {self.title}, but got "
                f"{outside[0]}: these indices belong to another data set."
            )
        self._excluded = frozenset(int(index) for index in indices)

    def replicate(self, replicated: bool) -> None:
        """Say whether every process gets all images of `predict_dataloader`, or a share of them.

        Call it before that loader is built; a share is what a distributed strategy gives else.
        """
        self._replicated = replicated

    def test_item(self, index: int) -> tuple[torch.Tensor, int]:
        """Return one test image, float32 (C, H, W) in [0, 1], and its label.

        Raises:
            InputError: `index` is not in the test split.
        """
        source = self._source(train=False)
        if not 0 <= index < len(source):
            raise InputError(
                f"Expected `index` in 0..{len(source) - 1}, the test split of {self.title}, but "
                f"got {index}."
            )
        image, label, _ = source[index]
        return image, int(label)

    def fingerprint(self) -> dict[str, str | int]:
        """Say which test split this is, so that records of another one are not mixed with it.

        Returns:
            `name`; `split`, always "test"; `attack`, if there is one; `images`, all of the split's,
            whatever is chosen; and `digest`, sha256 over pixels and labels (ImageNet: paths, sizes,
            labels, cropping) and the attack.
        """
        source = self._source(train=False)
        if not self._digest:
            digest = hashlib.sha256()
            source.update_digest(digest.update)
            self._digest = digest.hexdigest()
        attack = {} if self.attack is None else {"attack": repr(self.attack)}
        return {
            "name": self.name,
            "split": "test",
            **attack,
            "images": len(source),
            "digest": self._digest,
        }

    def _source(self, *, train: bool) -> ImageSource:
        if train not in self._sources:
            source = self._load(train=train)
            where = f"{self.title}: the {'train' if train else 'test'} split under {self.root}"
            check_labels(source.labels, self.num_classes, where=where)
            if self.attack is not None and not train:
                source = AttackedSource(source, self.attack)
            self._sources[train] = source
        return self._sources[train]

    def _loader(
        self, dataset: Dataset[ImageBatch], *, shuffle: bool = False, replicated: bool = False
    ) -> DataLoader[ImageBatch]:
        # Lightning leaves a distributed sampler as it is, and would put its own for another.
        whole: DistributedSampler[ImageBatch] | None = None
        if replicated:
            whole = DistributedSampler(dataset, 1, 0, shuffle=False)
        return DataLoader(
            dataset,
            batch_size=self.batch_size if shuffle else self.eval_batch_size,
            shuffle=shuffle,
            sampler=whole,
            num_workers=self.num_workers,
            collate_fn=keep_batch,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
        )
