"""Which tensor of a file belongs to which tensor of a network: by names alone, by rules in sight.

Projects name one network in many ways. What is done about it, in this order:

1. Prefixes of `PREFIXES` that all names of one side share are taken off that side: wrappers such
   as DataParallel, Lightning or torch.compile write them, and so does `Sequential(normalise, net)`.
2. Equal names belong together.
3. Of the rest, names belong together that are equal but for words of `SAME`, as long as only one
   name on each side comes into question.

Nothing is ever matched by its shape or its place in the file: two layers of one shape that swap
places still give a network that runs. Shapes only refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor

PREFIXES: Final = ("module.", "_orig_mod.", "model.", "net.", "1.")
"""DataParallel and DDP; torch.compile; Lightning and the wrappers of this package; kuangliu's
scripts; the network behind a normalisation in a Sequential (Cohen et al. 2019)."""

SHORTCUTS: Final = frozenset({"shortcut", "downsample"})
"""The branch around a residual block: this package, kuangliu, akamaster; torchvision, Cohen."""

HEADS: Final = frozenset({"fc", "linear", "classifier", "head", "last_linear"})
"""The last layer: torchvision, Cohen; akamaster, kuangliu; DenseNets; timm; Cadene."""

SAME: Final = (SHORTCUTS, HEADS)
"""Words for the same layer; those of `HEADS` only as a name's first word before weight or bias."""

_COUNTER: Final = "num_batches_tracked"
"""Of BatchNorm: files of torch before 0.4.1 lack it, and it changes no answer."""

NOT_FINITE: Final = "holds numbers that are not finite"
"""What is said of a tensor with NaN or infinities."""


@dataclass(frozen=True)
class Match:
    """How a file's tensors fit a network's.

    Attributes:
        taken: the network's name -> the file's name.
        missing: names of the network that the file has nothing for.
        unexpected: names of the file that the network has no place for.
        faults: tensors that are taken and cannot be: wrong shape or type, no finite number.
        head: names of the network's last layer.
        prefixes: what was taken off the file's names.
        renamed: the file's word -> the network's word, where rule 3 was needed.
    """

    taken: Mapping[str, str]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    faults: Mapping[str, str]
    head: frozenset[str]
    prefixes: str
    renamed: Mapping[str, str]

    @property
    def exact(self) -> bool:
        """Whether the file has the network's own names, all of them and no others."""
        return not (self.renamed or self.missing or self.unexpected)

    def __str__(self) -> str:
        """Tell in words what was matched, and by which rules."""
        parts = [f"{len(self.taken)} tensors"]
        if self.prefixes:
            parts.append(f"{self.prefixes!r} taken off their names")
        parts += [f"{theirs} is {ours}" for theirs, ours in self.renamed.items()]
        return ", ".join(parts)


def match(own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> Match:
    """Match a file's tensors with a network's; neither with its normalisation.

    Args:
        own: the network's state dict.
        stored: the file's tensors by name.

    Returns:
        What fits, and what does not.

    >>> import torch
    >>> own = {"conv.weight": torch.zeros(4, 3, 3, 3), "fc.weight": torch.zeros(10, 4)}
    >>> file = {f"module.{k}".replace("fc", "linear"): v for k, v in own.items()}
    >>> print(match(own, file))
    2 tensors, 'module.' taken off their names, linear is fc
    """
    _, ours = strip(own)
    prefixes, theirs = strip(stored)
    pairs = {name: name for name in ours if name in theirs}
    left = _by_meaning(name for name in theirs if name not in pairs)
    for meaning, names in _by_meaning(name for name in ours if name not in pairs).items():
        found = left.get(meaning, [])
        if len(names) == len(found) == 1:
            pairs[names[0]] = found[0]
    renamed: dict[str, str] = {}
    for name, source in pairs.items():
        words = zip(source.split("."), name.split("."), strict=True)
        renamed |= {theirs_: ours_ for theirs_, ours_ in words if theirs_ != ours_}
    taken = {ours[name]: theirs[source] for name, source in pairs.items()}
    missing = (full for name, full in ours.items() if name not in pairs)
    used = set(pairs.values())
    return Match(
        taken=taken,
        missing=tuple(name for name in missing if not name.endswith(_COUNTER)),
        unexpected=tuple(full for name, full in theirs.items() if name not in used),
        faults={n: f for n, s in taken.items() if (f := _fault(n, own[n], stored[s]))},
        head=_head(own),
        prefixes=prefixes,
        renamed=renamed,
    )


def strip(names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Take the known prefixes off that all names share.

    Returns:
        What was taken off, and the shortened names with the full ones.

    >>> strip(["1.module.conv1.weight", "1.module.fc.bias"])
    ('1.module.', {'conv1.weight': '1.module.conv1.weight', 'fc.bias': '1.module.fc.bias'})
    """
    full = list(names)
    off = ""
    while full:
        shared = [p for p in PREFIXES if all(name.startswith(off + p) for name in full)]
        if not shared:
            break
        off += shared[0]
    return off, {name.removeprefix(off): name for name in full}


def split_normalization(
    stored: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor] | None]:
    """Part a file's normalisation from its weights.

    It is known by a `mean` and a `std` beside each other, with one number a channel; BatchNorm's
    are called otherwise (`running_mean`, `running_var`).

    Returns:
        The weights; and mean and std of shape (C,), or None where the file has none, or several.
    """
    found = []
    for name, mean in stored.items():
        parent = name.removesuffix("mean")
        std = stored.get(f"{parent}std")
        if name.split(".")[-1] != "mean" or std is None or std.shape != mean.shape:
            continue
        if mean.numel() == max(mean.shape, default=0):
            found.append((name, f"{parent}std"))
    if len(found) != 1:
        return dict(stored), None
    ((mean_name, std_name),) = found
    rest = {name: tensor for name, tensor in stored.items() if name not in (mean_name, std_name)}
    return rest, (stored[mean_name].flatten().float(), stored[std_name].flatten().float())


def _by_meaning(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by what they mean under `SAME`."""
    found: dict[str, list[str]] = {}
    for name in names:
        first, *rest = name.split(".")
        words = ["(head)" if first in HEADS and rest in (["weight"], ["bias"]) else first, *rest]
        meaning = ".".join("(shortcut)" if word in SHORTCUTS else word for word in words)
        found.setdefault(meaning, []).append(name)
    return found


def _head(own: Mapping[str, Tensor]) -> frozenset[str]:
    """Names of the last layer: that of the last weight that is a matrix or a convolution."""
    weights = [name for name, tensor in own.items() if tensor.ndim >= 2]
    if not weights:
        return frozenset()
    layer = weights[-1].removesuffix("weight")
    return frozenset(name for name in own if name in (f"{layer}weight", f"{layer}bias"))


def _fault(name: str, own: Tensor, stored: Tensor) -> str:
    """What is wrong with a tensor of the file, in words; empty if nothing is."""
    if stored.shape != own.shape:
        return f"{name} is {tuple(stored.shape)} in the file, {tuple(own.shape)} in the model"
    plain = not (stored.is_meta or stored.is_sparse or stored.is_quantized)
    if not plain or stored.is_floating_point() != own.is_floating_point():
        return f"{name} is {stored.dtype} in the file, {own.dtype} in the model"
    if stored.is_floating_point() and not bool(stored.isfinite().all()):
        return f"{name} {NOT_FINITE}"
    return ""
