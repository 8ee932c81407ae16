"""Methods that stop early, computed again: their bound from every look (THEORY section 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import cast

from lightning_smooth.errors import RecordError
from lightning_smooth.maths.deciding import HELD, Thresholds
from lightning_smooth.maths.radius import gaussian_probability, gaussian_radius
from lightning_smooth.maths.sequential import Rule, Stopping, stopping
from lightning_smooth.records.audit_methods import Recomputed, Verdict, audits, number
from lightning_smooth.records.certificate import Certificate


def rule_of(
    c: Certificate, alpha: float | None = None, ledger: Mapping[str, float] | None = None
) -> Stopping:
    """The stopping rule of a certificate, if its looks and its ledger are those of the rule.

    Args:
        c: the certificate.
        alpha: what the rule spends; None for all of the certificate's.
        ledger: how it spends it; None for the whole ledger.

    Raises:
        RecordError: they are not.
    """
    most = number(c.parameters, "n", where="parameters")
    rule = _stopping(str(c.parameters.get("rule")), int(most), c.alpha if alpha is None else alpha)
    if not c.looks or tuple(n for n, _ in c.looks) != rule.sizes[: len(c.looks)]:
        raise RecordError(f"The looks are not those of the rule: {rule.sizes[:3]}, ...")
    steps = pairwise([(0, 0), *c.looks])
    if any(not 0 <= hits - before <= n - drawn for (drawn, before), (n, hits) in steps):
        raise RecordError(f"The looks are not running counts of hits: {c.looks}.")
    if c.looks[-1] != (c.n, c.hits):
        raise RecordError(f"The last look is {c.looks[-1]}, but the counts are {(c.n, c.hits)}.")
    if dict(c.ledger if ledger is None else ledger) != rule.ledger:
        raise RecordError(f"The ledger is not that of the rule: {rule.ledger}.")
    return rule


@lru_cache(maxsize=64)
def _stopping(name: str, most: int, alpha: float) -> Stopping:
    return stopping(cast(Rule, name), most, alpha)


@audits("gaussian adaptive", counted=True)
def gaussian_adaptive(c: Certificate) -> Recomputed:
    """The radius of the best bound of all looks, wherever it stopped."""
    sigma = number(c.parameters, "sigma", where="parameters")
    return Recomputed(
        p_lower=rule_of(c).running([hits for _, hits in c.looks]),
        conclude=lambda p: Verdict(certified=p > 0.5, radius=gaussian_radius(p, sigma)),
        stops_early=True,
    )


@audits("gaussian sequential", counted=True)
def gaussian_sequential(c: Certificate) -> Recomputed:
    """Decisions and the largest radius held, by the looks that the certificate lists."""
    sigma = number(c.parameters, "sigma", where="parameters")
    return decided(c, lambda radius: gaussian_probability(radius, sigma))


def decided(c: Certificate, needed: Callable[[float], float]) -> Recomputed:
    """Decisions of radii, each with the bound that it needs."""
    rule = rule_of(c)
    try:
        radii = sorted(float(target) for target in c.decisions)
    except ValueError:
        raise RecordError(f"The targets {list(c.decisions)} are not radii.") from None
    thresholds = [needed(r) for r in radii]
    decider = Thresholds(rule, thresholds)
    for _, hits in c.looks:
        decider.observe(hits)
    open_ = [said if said != HELD else "undecided" for said in decider.decisions]

    def conclude(p: float) -> Verdict:
        held = [p >= threshold for threshold in thresholds]
        said = [HELD if yes else other for yes, other in zip(held, open_, strict=True)]
        best = max((r for r, yes in zip(radii, held, strict=True) if yes), default=0.0)
        named = {repr(r): word for r, word in zip(radii, said, strict=True)}
        return Verdict(certified=p > 0.5, radius=best, decisions=named)

    return Recomputed(p_lower=decider.p_lower, conclude=conclude, stops_early=True)
