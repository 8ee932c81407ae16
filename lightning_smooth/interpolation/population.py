"""E and rho of the images of a distribution, and for which fraction of them they hold.

One pair (E, rho) is chosen on some images and verified on others, once; afterwards no image needs
a bound of its own. Source: Fischer, Baader, Vechev, NeurIPS 2020, section 5 (DistSPT^D); THEORY
section 6.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from lightning_smooth.errors import (
    InputError,
    check_count,
    check_positive,
    check_probability,
)
from lightning_smooth.interpolation.measure import Stored
from lightning_smooth.interpolation.roughness import unit_of
from lightning_smooth.interpolation.sizes import BIN, AngleSizes, extremes, scaled
from lightning_smooth.maths.spt import alpha_of_attempt, failures_allowed, hits_shown

_FORMAT = "lightning_smooth population error"
_VERSION = 1
_TUPLES = ("draws", "chosen", "earlier", "verified", "failures", "shape")


@dataclass(frozen=True, kw_only=True)
class PopulationError:
    """What is known of interpolation's error on the images of a distribution.

    Guarantee: with probability at least 1 - alpha over the choice of images and the draws of b, a
    fraction of at least `q` of the distribution are images whose error exceeds their E, for any
    attack up to `largest`, with a probability of at most `rho` over b. It rests on the images being
    independent draws of that distribution, looked at by nobody who chose E. It says nothing of any
    one image, and nothing of images from elsewhere.

    How: an image passes if its failures, of `draws[1]` draws that bound its error, show a
    probability of at most rho; that is wrong with probability `level` at most, so
    P(pass) <= level + (1 - level) q (`maths.spt.hits_shown`). Whoever chooses another E after a
    look at the verification has used its images up: attempt k takes others, and spends alpha / 2^k,
    so that all attempts together are wrong with probability at most alpha.

    Attributes:
        size: E, in l2; for rotations a function of the angle at which the image is seen. If
            `relative`, in units of the image's `roughness`.
        rho: bound of the probability, over b, that the error of an image exceeds E.
        level: probability with which an image may pass that should not.
        alpha: probability with which any of the attempts may be wrong.
        attempt: number of this one, from 1.
        draws: of b: of each image that chose E, and of each that verified it.
        chosen: indices of the images that chose E.
        earlier: indices of the images that chose or verified another E before.
        verified: indices of the images that verified E; none of the others.
        failures: of each of these, draws whose error is not proven to be at most E.
        margin: E is so many times the largest error that was found.
        transform: the transformation, as it is printed.
        scale: standard deviation of b, in the unit of the parameters.
        largest: greatest attack.
        preprocessing: what the classifier does before it adds noise, as it is printed; None for
            nothing.
        stored: how an attack may store its image.
        shape: (C, H, W) of the images.
        data: name of the data set; the indices are those of its training split.
        seed: seed of the draws.
        relative: whether an image's E is `size` times its `roughness`, and not the same for all.

    Raises:
        InputError: what is given contradicts itself.
    """

    size: float | AngleSizes
    rho: float
    level: float
    alpha: float
    attempt: int
    draws: tuple[int, int]
    chosen: tuple[int, ...]
    earlier: tuple[int, ...]
    verified: tuple[int, ...]
    failures: tuple[int, ...]
    margin: float
    transform: str
    scale: float
    largest: float
    preprocessing: str | None
    stored: Stored
    shape: tuple[int, ...]
    data: str
    seed: int
    relative: bool = False

    def __post_init__(self) -> None:
        for name in ("rho", "level", "alpha"):
            check_probability(name, getattr(self, name))
        for name in ("margin", "scale", "largest"):
            check_positive(name, getattr(self, name))
        values = self.size.values.tolist() if isinstance(self.size, AngleSizes) else [self.size]
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise InputError("Expected `size` to be finite and at least 0: it bounds a norm.")
        if not isinstance(self.relative, bool):
            raise InputError(f"Expected `relative` to be true or false, but got {self.relative!r}.")
        if self.stored not in get_args(Stored):
            raise InputError(f"Expected `stored` to be exact, float32 or uint8: {self.stored!r}.")
        if len(self.draws) != 2 or len(self.failures) != len(self.verified):
            raise InputError(
                f"Expected two numbers of `draws` and {len(self.verified)} `failures`, one for "
                f"each image that verified E, but got {self.draws} and {len(self.failures)}."
            )
        self._check_counts()
        if max(self.failures) > self.draws[1]:
            raise InputError(f"Expected at most {self.draws[1]} `failures` of an image.")
        if (self.attempt > 1) != bool(self.earlier):
            raise InputError(f"Attempt {self.attempt} comes after {len(self.earlier)} images.")
        fresh = set(self.verified)
        if len(fresh) < len(self.verified) or fresh & {*self.chosen, *self.earlier}:
            raise InputError(
                "Expected `verified` to be images that neither chose E nor verified another: with "
                "images that were looked at, q is not shown."
            )

    def _check_counts(self) -> None:
        for name in ("failures", "chosen", "earlier", "verified"):
            for count in getattr(self, name):
                check_count(name, count, least=0)
        for name in ("chosen", "verified"):
            check_count(f"len({name})", len(getattr(self, name)))
        for count in self.draws:
            check_count("draws", count)
        check_count("attempt", self.attempt)
        check_count("seed", self.seed, least=0)

    @property
    def passes(self) -> int:
        """Images whose failures show a probability of at most rho."""
        allowed = failures_allowed(self.draws[1], self.rho, self.level)
        return sum(count <= allowed for count in self.failures)

    @property
    def q(self) -> float:
        """The fraction of the distribution for which E and rho hold, rounded down."""
        spent = alpha_of_attempt(self.alpha, self.attempt)
        return hits_shown(self.passes, len(self.failures), self.level, spent)

    def size_of(self, image: Tensor, preprocessing: nn.Module | None) -> float | AngleSizes:
        """E of an image (C, H, W) of the distribution, behind what `preprocessing` names."""
        if not self.relative:
            return self.size
        return scaled(self.size, unit_of(image, preprocessing))

    @property
    def sizes(self) -> tuple[float, float]:
        """The smallest and the largest `size`."""
        return extremes(self.size)

    def summary(self) -> dict[str, Any]:
        """What a certificate says of it: the counts that q follows from, and this file's digest."""
        tally = Counter(self.failures)
        return {
            "q": self.q,
            "rho": self.rho,
            "level": self.level,
            "alpha": self.alpha,
            "attempt": self.attempt,
            "draws": self.draws[1],
            "failures": {str(count): tally[count] for count in sorted(tally)},
            "largest": self.largest,
            "data": self.data,
            **({"relative": True} if self.relative else {}),
            "digest": self.digest,
        }

    @property
    def digest(self) -> str:
        """16 hex digits over all of it."""
        return hashlib.blake2b(_text(self._plain()).encode(), digest_size=8).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write it as JSON; floats keep every bit.

        Raises:
            InputError: there is a file already: what was verified is not written over.
        """
        path = Path(path)
        if path.exists():
            raise InputError(f"{path} is there already: give another name, and keep this one.")
        follows = {"passes": self.passes, "q": self.q, "digest": self.digest}
        path.write_text(_text({**self._plain(), **follows}) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> PopulationError:
        """Read what `save` wrote; passes, q and digest are computed again.

        Raises:
            InputError: there is no such file, it is something else, or it contradicts itself.
        """
        try:
            given = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as fault:
            raise InputError(
                f"Expected {path} to be what scripts/measure_error writes, but: {fault}."
            ) from fault
        if not isinstance(given, dict) or given.pop("format", None) != _FORMAT:
            raise InputError(f"Expected {path} to be what scripts/measure_error writes.")
        if given.pop("version", None) != _VERSION:
            raise InputError(f"{path} is of another version: measure the error again.")
        said = {name: given.pop(name, None) for name in ("passes", "q", "digest")}
        try:
            given["size"] = _size(given["size"])
            loaded = cls(**{**given, **{name: tuple(given[name]) for name in _TUPLES}})
            found = {"passes": loaded.passes, "q": loaded.q, "digest": loaded.digest}
        except (InputError, KeyError, TypeError, ValueError) as fault:
            raise InputError(f"{path} is damaged: {fault}") from fault
        for name, value in found.items():
            near = isinstance(said["q"], float) and math.isclose(said["q"], loaded.q, rel_tol=1e-9)
            if said[name] != value and not (name == "q" and near):  # q rounds as scipy does
                raise InputError(
                    f"{path} says {name} = {said[name]!r}, but the rest of it gives {value!r}: it "
                    "was changed after it was measured."
                )
        return loaded

    def _plain(self) -> dict[str, Any]:
        size = self.size.values.tolist() if isinstance(self.size, AngleSizes) else self.size
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if not self.relative:
            del fields["relative"]  # as files were before there was a choice, digest and all
        return {"format": _FORMAT, "version": _VERSION, **fields, "size": size}


def _text(plain: dict[str, Any]) -> str:
    """One line for each field."""
    lines = (f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in plain.items())
    return "{\n" + ",\n".join(lines) + "\n}"


def _size(value: Any) -> float | AngleSizes:
    if not isinstance(value, list):
        return float(value)
    if len(value) != round(360 / BIN):
        raise InputError(f"Expected `size` for {round(360 / BIN)} angles, but got {len(value)}.")
    return AngleSizes(torch.tensor([float(each) for each in value], dtype=torch.float64))
