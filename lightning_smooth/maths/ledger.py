"""The alpha ledger: how the failure budget of a certificate was spent (THEORY section 0)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lightning_smooth.errors import SoundnessError, check_probability


def check_ledger(ledger: Mapping[str, float], alpha: float) -> None:
    """Check that the budgets of the random steps add up to at most `alpha`.

    The sum is exact but for one rounding (`math.fsum`), for which one unit in the last place of
    alpha is granted: .004 + .005 + .001 must fit into .01.

    Args:
        ledger: failure probability of each random step, by name; each at least 0.
        alpha: the whole budget, in (0, 1).

    Raises:
        SoundnessError: a budget is negative or not finite, or they exceed `alpha`.

    >>> check_ledger({"outer": 0.004, "inner": 0.005, "error bound": 0.001}, 0.01)
    """
    check_probability("alpha", alpha)
    if not all(math.isfinite(spent) and spent >= 0 for spent in ledger.values()):
        raise SoundnessError(f"The ledger {dict(ledger)} has a budget that is not a probability.")
    total = math.fsum(ledger.values())
    if total > alpha + math.ulp(alpha):
        raise SoundnessError(f"The ledger {dict(ledger)} adds up to {total!r}, above {alpha!r}.")
