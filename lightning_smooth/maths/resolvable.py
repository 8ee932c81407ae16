"""Boxes of attacks on several parameters with independent noise (THEORY section 5).

The transformations must compose by addition in every parameter (and commute, where several are
composed), brightness and contrast alone excepted: then the attack moves a product measure, and

    mass after all shifts >= after_1(after_2(... after_m(p))),

because each law's bound holds for every set of the product measure, and grows with p. As each also
falls with the size of its shift, the corner of the box farthest from 0 bounds the whole box.
Gaussian parameters move together, by their shift in l2 (in standard deviations).

Any order is sound. This one, which no other beats in the tests: Laplace and exponential noise
(which multiply the mass lost, so cost least near p = 1), folded Gaussian, Gaussian, uniform (which
costs the same at every p). For exponential noise and one other law it attains the optimum.

Brightness and contrast, x -> e^k (x + b). The attack (B, K) and then the noise (b, k) give
e^(k + K) (x + B + e^-K b): besides the shift (B, K), the noise b shrinks by e^-K. So
    1. its law becomes N(0, (e^-K sb)^2): the sets that lose most are the tails where it narrows
       (K > 0) and the middle where it widens, which leaves p' (`rescaled`);
    2. from there the Gaussian shift is (B / (e^-K sb), K / sk), in l2 with all others.
As |K| grows, p' falls and K / sk grows, while e^K B / sb grows with K and is at most B / sb below
K = 0. Hence the end K of the range, with the factor max(e^K, 1) on B / sb, bounds all between 0 and
K, and both ends bound the box.

Sources: Fischer, Baader, Vechev, NeurIPS 2020; Li et al., "TSS", CCS 2021 (appendix on brightness
and contrast; the factor as corrected later); Hao et al., "GSmooth", ICML 2022, theorem 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from scipy.special import erf, erfc, erfcinv, erfinv

from lightning_smooth.errors import InputError
from lightning_smooth.maths.laws import (
    ExponentialLaw,
    FoldedGaussianLaw,
    GaussianLaw,
    LaplaceLaw,
    ParameterLaw,
)
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.maths.shift import SLACK, check_lower, gaussian_after
from lightning_smooth.types import Box

_GAUSSIAN: Final = 2
"""Place of the Gaussian parameters in the order of the laws, see `_rank`."""

Laws = Mapping[str, ParameterLaw]
"""The noise on each parameter, independent of the others."""


def box_probability(
    p_lower: float, laws: Laws, box: Box, *, coupled: tuple[str, str] | None = None
) -> float:
    """Lower bound of the class's probability at every attack of a box, rounded down.

    The class holds in the whole box if it is above 1/2. Sound if the transformations compose as
    the head of this module says, which is the caller's to see to.

    Args:
        p_lower: lower bound of the class's probability without attack, in [0, 1).
        laws: the noise on each parameter.
        box: the attacks.
        coupled: names of the brightness b and the log-contrast k of x -> e^k (x + b), both under
            Gaussian noise; None if there is no such pair.

    Returns:
        The bound, in [0, p_lower].

    Raises:
        InputError: `p_lower` is outside [0, 1); the box has a parameter without noise, a range that
            is not finite or upside down, or attacks below 0 under one-sided noise; or the coupled
            parameters are not two under Gaussian noise.

    >>> laws = {"variance": ExponentialLaw(10.0), "dx": GaussianLaw(4.0), "dy": GaussianLaw(4.0)}
    >>> round(box_probability(0.99, laws, {"dx": (-4, 4), "dy": (-3, 3)}), 6)
    0.859114
    >>> round(box_probability(0.99, laws, {"variance": (0, 9), "dx": (-4, 4), "dy": (-3, 3)}), 6)
    0.763289
    """
    check_lower(p_lower)
    _check_coupled(laws, coupled)
    _check_box(laws, box)
    p = float(p_lower)
    for rank in range(_GAUSSIAN + 2):
        if rank == _GAUSSIAN:
            p = _gaussian(p, laws, box, coupled)
            continue
        for name in box:
            if _rank(laws[name]) == rank:
                p = laws[name].after(p, _farthest(box[name]))
    return p


def box_needed(laws: Laws, box: Box, *, coupled: tuple[str, str] | None = None) -> float:
    """Probability that certifies a box: a lower bound of this or more holds in all of it.

    Args:
        laws: the noise on each parameter.
        box: the attacks.
        coupled: names of the brightness and the log-contrast of x -> e^k (x + b), or None.

    Returns:
        p above 1/2 with box_probability(p) > 1/2, next to a float for which that is not so (or to
        1/2). 1 where no probability below 1 does.

    Raises:
        InputError: as for `box_probability`.

    >>> laws = {"variance": ExponentialLaw(10.0), "dx": GaussianLaw(4.0)}
    >>> round(box_needed(laws, {"variance": (0, 9), "dx": (-4, 4)}), 6)
    0.935496
    """
    below, p = 0.5, math.nextafter(1.0, 0.0)
    if not box_probability(p, laws, box, coupled=coupled) > 0.5:
        return 1.0
    while below < (middle := (below + p) / 2) < p:
        if box_probability(middle, laws, box, coupled=coupled) > 0.5:
            p = middle
        else:
            below = middle
    return p


def parameter_radii(
    p_lower: float, laws: Laws, *, coupled: tuple[str, str] | None = None
) -> dict[str, float]:
    """Certified radius of each parameter while the others are 0, rounded down.

    Args:
        p_lower: lower bound of the class's probability, in [0, 1).
        laws: the noise on each parameter.
        coupled: names of the brightness and the log-contrast of x -> e^k (x + b), or None. The
            radius of the contrast is then the smaller of those to the two sides.

    Returns:
        The radius of each parameter, in its units: the attacks below it, of either sign if the law
        is two-sided. They do not hold together: ask `box_probability` for a box.

    Raises:
        InputError: `p_lower` is outside [0, 1), or the coupled parameters are not two under
            Gaussian noise.

    >>> laws = {"b": GaussianLaw(0.2), "k": GaussianLaw(0.2)}
    >>> radii = parameter_radii(0.99, laws, coupled=("b", "k"))
    >>> {name: round(radius, 6) for name, radius in radii.items()}
    {'b': 0.46527, 'k': 0.312014}
    """
    _check_coupled(laws, coupled)
    radii = {name: law.radius(p_lower) for name, law in laws.items()}
    if coupled is not None:
        contrast = coupled[1]
        held, above = 0.0, radii[contrast]
        while held < (middle := (held + above) / 2) < above:
            box = {contrast: (-middle, middle)}
            if box_probability(p_lower, laws, box, coupled=coupled) > 0.5:
                held = middle
            else:
                above = middle
        radii[contrast] = held
    return radii


def joint_radius(p_lower: float, laws: Laws) -> float | None:
    """Certified l2 radius in the space of all parameters, rounded down.

    Args:
        p_lower: lower bound of the class's probability, in [0, 1).
        laws: the noise on each parameter; none of them coupled.

    Returns:
        scale PPF(p_lower) if all laws are Gaussian of one scale; None if they are not, or there is
        none, so that no norm in raw units is the certified one.

    Raises:
        InputError: `p_lower` is outside [0, 1).

    >>> round(joint_radius(0.9, {"dx": GaussianLaw(4.0), "dy": GaussianLaw(4.0)}), 6)
    5.126206
    >>> joint_radius(0.9, {"dx": GaussianLaw(4.0), "dy": GaussianLaw(3.0)}) is None
    True
    """
    check_lower(p_lower)
    scales = {law.scale if isinstance(law, GaussianLaw) else None for law in laws.values()}
    scale = scales.pop() if len(scales) == 1 else None
    return None if scale is None else gaussian_radius(p_lower, scale)


def rescaled(p_lower: float, log_ratio: float) -> float:
    """Lower bound of a probability after Gaussian noise narrows by e^-log_ratio, rounded down.

    N(0, s^2) becomes N(0, (e^-log_ratio s)^2). The density falls most in the tails |b| > t if it
    narrows, and around 0, |b| < t, if it widens; these sets attain the bound (Li et al. 2021).

    Args:
        p_lower: lower bound of the class's probability before, in [0, 1).
        log_ratio: k, the log of the contrast; above 0 where the noise narrows.

    Returns:
        2 - 2 CDF(e^k PPF(1 - p/2)) for k > 0 and 2 CDF(e^k PPF((1 + p) / 2)) - 1 for k < 0.

    Raises:
        InputError: `p_lower` is outside [0, 1), or `log_ratio` is not finite.

    >>> round(rescaled(0.9, 0.2), 6), round(rescaled(0.9, -0.2), 6)
    (0.878017, 0.821921)
    """
    check_lower(p_lower)
    if not math.isfinite(log_ratio):
        raise InputError(f"Expected `log_ratio` to be finite, but got {log_ratio!r}.")
    if log_ratio == 0:
        return float(p_lower)
    if abs(log_ratio) > 700:
        return 0.0
    factor = math.exp(log_ratio)
    if log_ratio > 0:
        end = factor * float(erfcinv(p_lower)) * (1 + SLACK)
        if end > 26:
            return 0.0
        # The exponential in `erfc` carries the rounding of -end^2.
        return min(p_lower, float(erfc(end)) * (1 - SLACK * (1 + end**2)))
    return min(p_lower, float(erf(factor * float(erfinv(p_lower)) * (1 - SLACK))) * (1 - SLACK))


def _rank(law: ParameterLaw) -> int:
    if isinstance(law, LaplaceLaw | ExponentialLaw):
        return 0
    if isinstance(law, FoldedGaussianLaw):
        return 1
    return _GAUSSIAN if isinstance(law, GaussianLaw) else _GAUSSIAN + 1


def _gaussian(p: float, laws: Laws, box: Box, coupled: tuple[str, str] | None) -> float:
    """The bound after the shift of all Gaussian parameters, coupled or not."""
    steps = {
        name: (low / law.scale, high / law.scale)
        for name, (low, high) in box.items()
        if isinstance(law := laws[name], GaussianLaw)
    }
    brightness, contrast = coupled or ("", "")
    if contrast not in steps:
        return _moved(p, [_farthest(step) for step in steps.values()])
    brighter = _farthest(steps.pop(brightness, (0.0, 0.0)))
    contrasts = zip(box[contrast], steps.pop(contrast), strict=True)
    others = [_farthest(step) for step in steps.values()]
    return min(
        _moved(rescaled(p, k), [brighter * math.exp(min(max(k, 0.0), 700.0)), step, *others])
        for k, step in contrasts
    )


def _moved(p: float, steps: list[float]) -> float:
    distance = math.hypot(*steps)
    return gaussian_after(p, distance) if distance > 0 else p


def _farthest(interval: tuple[float, float]) -> float:
    return max(abs(interval[0]), abs(interval[1]))


def _check_coupled(laws: Laws, coupled: tuple[str, str] | None) -> None:
    if coupled is None:
        return
    gaussian = [name for name, law in laws.items() if isinstance(law, GaussianLaw)]
    if len(set(coupled)) != 2 or not set(coupled) <= set(gaussian):
        raise InputError(
            f"Expected `coupled` to be two parameters under Gaussian noise, of {gaussian}, but got "
            f"{coupled}."
        )


def _check_box(laws: Laws, box: Box) -> None:
    unknown = [name for name in box if name not in laws]
    if unknown:
        raise InputError(
            f"Expected attacks on parameters with noise, which are {list(laws)}, but got "
            f"{unknown}. Give them noise, or leave them out of the box."
        )
    for name, (low, high) in box.items():
        if not -math.inf < low <= high < math.inf:
            raise InputError(
                f"Expected the range of `{name}` to be finite and in order, but got {(low, high)}."
            )
        laws[name].check_shift(low)
