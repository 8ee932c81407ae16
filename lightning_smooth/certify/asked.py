"""What certificates of a range are asked for, checked: the box, its identity, its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, get_args

import torch

from lightning_smooth.errors import InputError
from lightning_smooth.interpolation.measure import Stored
from lightning_smooth.maths.coverage import check_around
from lightning_smooth.transforms.base import Transform
from lightning_smooth.types import Box


class Asked(NamedTuple):
    """A range of attacks.

    Attributes:
        box: (least, greatest) of each parameter that is attacked, in the transformation's order.
        identity: of each of them, what changes nothing; None of a place (`Parameter.place`).
        radii: parts of the box to decide, ascending.
    """

    box: Box
    identity: list[float | None]
    radii: tuple[float, ...]


def asked_range(transform: Transform, box: Box, radii: Sequence[float], stored: Stored) -> Asked:
    """Return a range of attacks, if it is one.

    Args:
        transform: what an attack does to images.
        box: (least, greatest) of one or two of its parameters, around its identity, and of places.
        radii: parts of the box to decide, in [0, 1].
        stored: how an attack may store its image.

    Raises:
        InputError: the box does not fit the transformation or is not around its identity, float32
            rounds one of its ends to another whole number, a radius is out of its range, or images
            cannot be stored so.
    """
    box = transform.check_box(box)
    identity = [
        None if p.place else float(p.identity) for p in transform.parameters if p.name in box
    ]
    check_around(list(box.values()), identity)
    if not 1 <= len(identity) - identity.count(None) <= 2:
        raise InputError(f"Expected `box` to have one or two ranges beside places, but got {box}.")
    for parameter in transform.parameters:
        for end in box.get(parameter.name, ()):
            single = torch.tensor(end, dtype=torch.float32).item()
            if parameter.whole and round(single) != round(end):
                raise InputError(
                    f"Expected the range of `{parameter.name}` to end where float32 finds the same "
                    f"whole number, {round(end)}, but got {end!r}: move it away from the half."
                )
    wanted = tuple(sorted({float(radius) for radius in radii}))
    if not wanted or not 0 <= wanted[0] <= wanted[-1] <= 1:
        raise InputError(
            f"Expected `radii` to be one or more parts of the box, from 0 to 1, but got "
            f"{list(radii)}: give the range itself in `box`."
        )
    if stored not in get_args(Stored):
        raise InputError(f"Expected `stored` to be exact, float32 or uint8, but got {stored!r}.")
    if stored == "uint8" and not transform.keeps_range:
        raise InputError(
            f"Expected a transformation that keeps images in [0, 1] with stored='uint8', but "
            f"got {transform!r}: bytes hold nothing beyond."
        )
    return Asked(box, identity, wanted)
