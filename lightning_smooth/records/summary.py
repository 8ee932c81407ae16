"""Headline figures of a set of certificates; the formulas are in maths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lightning_smooth.maths.certified import average_certified_radius, certified_accuracy
from lightning_smooth.records.certificate import Certificate


def summarise(certificates: Sequence[Certificate], radii: Sequence[float]) -> dict[str, Any]:
    """Compute the headline figures.

    Args:
        certificates: one an image, at least one.
        radii: radii of the certified accuracy, in the certificates' unit.

    Returns:
        Plain values: images, `certified_accuracy@R` for each radius, acr (average certified
        radius), abstention (a rate), draws, seconds, and the guarantee, as `claim` words it.
    """
    correct = [c.correct for c in certificates]
    radius = [c.radius or 0.0 for c in certificates]
    rates = certified_accuracy(correct, radius, radii).tolist()
    return {
        "images": len(certificates),
        **{f"certified_accuracy@{r:g}": rate for r, rate in zip(radii, rates, strict=True)},
        "acr": average_certified_radius(correct, radius),
        "abstention": sum(c.abstained for c in certificates) / max(len(certificates), 1),
        "draws": sum(c.n0 + c.n for c in certificates),
        "seconds": round(sum(c.seconds for c in certificates), 3),
        "guarantee": ", ".join(sorted(set(map(claim, certificates)))),
    }


def claim(certificate: Certificate) -> str:
    """The guarantee, and of which fraction of the images it is one, where that is not each of them.

    DistSPT^D is a statement about a distribution: see `certify.DistSPTDCertifier`. The fraction is
    rounded down.
    """
    q = certificate.measured.get("q")
    if "holds_for" not in certificate.parameters or q is None:
        return certificate.guarantee
    down = math.floor(q * 1000) / 1000
    return f"{certificate.guarantee} for a fraction {down:.3f} of the distribution"
