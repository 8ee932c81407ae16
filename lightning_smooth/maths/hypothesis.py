"""The test that PREDICT makes (Cohen, Rosenfeld, Kolter 2019, section 3.2.1; THEORY section 1)."""

from __future__ import annotations

from scipy.stats import binomtest

from lightning_smooth.errors import InputError, check_count


def top_two_p_value(top: int, second: int) -> float:
    """P-value of the two-sided exact test that the two most voted classes are equally likely.

    Args:
        top: votes of the most voted class.
        second: votes of the runner-up, at most `top`.

    Returns:
        The p-value, in (0, 1]; 1 when there are no votes at all.

    Raises:
        InputError: a count is negative, or the runner-up has more votes.

    >>> round(top_two_p_value(60, 40), 6)
    0.056888
    """
    check_count("top", top, least=0)
    check_count("second", second, least=0)
    if second > top:
        raise InputError(f"Expected `second` ({second}) to be at most `top` ({top}).")
    if top == 0:
        return 1.0
    return float(binomtest(top, top + second, 0.5).pvalue)
