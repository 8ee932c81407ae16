"""A few test images, clean and noisy, kept beside the records for the report.

Where the parameters of a transformation are drawn, a contact sheet of it is kept too: one of the
images under each parameter, over the range that attacks come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_smooth.certify.base import Certifier
from lightning_smooth.maths.shift import ParameterLaw
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.smoothing.parameters import ParameterNoise
from lightning_smooth.smoothing.rng import NoiseKey
from lightning_smooth.transforms.base import Parameter

TILES: Final = 9
"""Values of a parameter on a contact sheet, at most."""


def choose(certificates: Sequence[Certificate], count: int) -> list[Certificate]:
    """Choose a mix of verdicts: up to a quarter wrong, a quarter abstained, the rest right.

    Within each verdict they are spread evenly over the radii, smallest first.
    """
    wrong = [c for c in certificates if not c.correct and not c.abstained]
    abstained = [c for c in certificates if c.abstained]
    right = [c for c in certificates if c.correct]
    few = _spread(wrong, count // 4) + _spread(abstained, count // 4)
    chosen = _spread(right, count - len(few)) + few
    if len(chosen) < count:
        rest = [c for c in certificates if c not in chosen]
        chosen += _spread(rest, count - len(chosen))
    return chosen


def save_pictures(
    path: Path,
    certificates: Sequence[Certificate],
    item: Callable[[int], tuple[Tensor, int]],
    certifier: Certifier,
    count: int,
) -> None:
    """Write `index` (K,), `clean` and `noisy` (K, C, H, W; 8 bits) of up to `count` images.

    A noisy image is a draw of what the model is shown, clipped to [0, 1] for the eye alone. With
    them goes the contact sheet of the first of them, if there is one (`contact_sheet`).
    """
    chosen = choose(certificates, count)
    if not chosen:
        return
    images = [torch.as_tensor(item(certificate.index)[0]).float() for certificate in chosen]
    clean, noisy = [], []
    for certificate, image in zip(chosen, images, strict=True):
        key = NoiseKey(certificate.seed, certificate.index, "picture")
        clean.append(_bytes(image))
        noisy.append(_bytes(certifier.seen(image, key)))
    index = np.array([c.index for c in chosen])
    radii = [c.radius for c in certificates if c.radius is not None and math.isfinite(c.radius)]
    sheet = contact_sheet(images[0], chosen[0].index, certifier, max(radii, default=0.0))
    fresh = path.with_name(f"new-{path.name}")  # savez appends .npz to any other ending
    pictures = {"index": index, "clean": np.stack(clean), "noisy": np.stack(noisy), **sheet}
    np.savez_compressed(fresh, allow_pickle=False, **pictures)
    fresh.replace(path)


def contact_sheet(
    image: Tensor, index: int, certifier: Certifier, radius: float
) -> dict[str, NDArray[np.generic]]:
    """One image under each parameter that the certifier draws, the others at their identity.

    Args:
        image: (C, H, W), in [0, 1].
        index: its index in the data set.
        certifier: its law says what is drawn, and its `box` what is attacked.
        radius: the largest that the run certified, in the unit of the parameters. Without a box it
            is where the attacks end; where it is 0, they end at 68 % of the noise.

    Returns:
        Nothing if it is pixels that are drawn. Else, of T tiles: `sheet` (T, C, H, W; 8 bits,
        clipped to [0, 1]), and of each `sheet_parameter`, `sheet_unit`, `sheet_value` and whether
        it is the identity, `sheet_identity`; and `sheet_index`, `sheet_transform` and
        `sheet_range`, which says in words where the values come from. Parameters that are not
        attacked (their range is one point) are left out.
    """
    law = certifier.law
    if not isinstance(law, ParameterNoise):
        return {}
    box: Mapping[str, tuple[float, float]] | None = getattr(certifier, "box", None)
    tiles, parameters, values = [], [], []
    for parameter in law.transform.parameters:
        if parameter.name not in law.laws:
            continue
        if box is None:
            low, high = _attacked(law.laws[parameter.name], radius)
        else:
            low, high = box.get(parameter.name, (0.0, 0.0))
        steps = values_over(parameter, low, high)
        if len(steps) == 1:
            continue
        theta = law.transform.identity().repeat(len(steps), 1)
        theta[:, law.transform.names.index(parameter.name)] = torch.tensor(
            steps, dtype=torch.float64
        )
        tiles.append(_bytes(law.transform(image[None], theta)))
        parameters += [parameter] * len(steps)
        values += steps
    if not tiles:
        return {}
    identity = [value == p.identity for p, value in zip(parameters, values, strict=True)]
    return {
        "sheet": np.concatenate(tiles),
        "sheet_parameter": np.array([p.name for p in parameters]),
        "sheet_unit": np.array([p.unit for p in parameters]),
        "sheet_value": np.array(values, dtype=np.float64),
        "sheet_identity": np.array(identity),
        "sheet_index": np.array(index),
        "sheet_transform": np.array(repr(law.transform)),
        "sheet_range": np.array(_range_words(box is not None, radius)),
    }


def values_over(parameter: Parameter, low: float, high: float, count: int = TILES) -> list[float]:
    """Values of a parameter from `low` to `high`, as far as they are allowed, and its identity.

    Either side of the identity is evenly divided, with as many values as its share of the range.
    Whole parameters take whole values alone, each once, so there may be fewer than `count`.

    Args:
        parameter: what takes them.
        low: the least.
        high: the greatest.
        count: how many, at least 3.

    >>> from lightning_smooth.transforms import Rotation
    >>> values_over(Rotation().parameters[0], -30, 10, 5)
    [-30.0, -20.0, -10.0, 0.0, 10.0]
    """
    low, high = max(low, parameter.low), min(high, parameter.high)
    if parameter.whole:
        low, high = float(math.ceil(low)), float(math.floor(high))
    still = parameter.identity
    low, high = min(low, still), max(high, still)
    steps, share = count - 1, (still - low) / ((high - low) or 1.0)
    below = min(max(round(steps * share), int(low < still)), steps - int(high > still))
    values = [*np.linspace(low, still, below + 1), *np.linspace(still, high, steps - below + 1)]
    found = sorted({float(round(v) if parameter.whole else v) for v in values})
    return [v for v in found if parameter.allows(v)]


def _attacked(law: ParameterLaw, radius: float) -> tuple[float, float]:
    """The attacks below a radius; without one, those as large as 68 % of the noise."""
    within = math.erf(math.sqrt(0.5))  # what lies within one standard deviation of a Gaussian
    level = within if law.one_sided else (1 + within) / 2
    end = radius if radius > 0 else float(law.quantile(level))
    return (0.0 if law.one_sided else -end), end


def _range_words(box: bool, radius: float) -> str:
    if box:
        return "over the box of attacks"
    if radius > 0:
        return "up to the largest radius of any image of this run"
    return "up to where 68 % of the noise lies, as no image of this run has a radius"


def _spread(certificates: list[Certificate], count: int) -> list[Certificate]:
    ordered = sorted(certificates, key=lambda c: (c.radius or 0.0, c.index))
    if count <= 0 or not ordered:
        return []
    places = np.unique(np.linspace(0, len(ordered) - 1, count).round().astype(int))
    return [ordered[place] for place in places]


def _bytes(image: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
