"""Logistic regression, penalised, by Newton's method."""

from __future__ import annotations

import torch
from torch import Tensor


def fit_logistic(values: Tensor, truth: Tensor, *, penalty: float = 1.0) -> tuple[Tensor, Tensor]:
    """Minimise the sum of logistic losses plus penalty |slope|^2 / 2.

    The objective is strictly convex where both classes occur; Newton steps are halved until they
    descend, so that the result is its minimum, up to rounding.

    Args:
        values: (N, n) float64.
        truth: (N,) float64, 0 or 1, both of them.
        penalty: on the slope, above 0; the intercept has none.

    Returns:
        Slope (n,) and intercept (): the log-odds are values @ slope + intercept.

    >>> values = torch.tensor([[-1.0], [1.0], [-1.0], [1.0]], dtype=torch.float64)
    >>> slope, intercept = fit_logistic(values, torch.tensor([0.0, 1, 0, 1], dtype=torch.float64))
    >>> round(float(slope), 4), round(float(intercept), 4)  # slope = 4 sigmoid(-slope)
    (1.0426, 0.0)
    """
    rows = torch.cat([values, torch.ones_like(values[:, :1])], dim=1)
    pull = torch.full_like(rows[0], penalty)
    pull[-1] = 0

    def objective(weights: Tensor) -> Tensor:
        odds = rows @ weights
        losses = torch.nn.functional.softplus(odds) - truth * odds
        return losses.sum() + (pull * weights.square()).sum() / 2

    weights = torch.zeros_like(rows[0])
    for _ in range(100):
        likely = (rows @ weights).sigmoid()
        gradient = rows.mT @ (likely - truth) + pull * weights
        curvature = (rows.mT * (likely * (1 - likely))) @ rows + pull.diag()
        step = torch.linalg.solve(curvature, gradient)
        here, size = objective(weights), 1.0
        while size > 1e-10 and objective(weights - size * step) > here:
            size /= 2
        weights = weights - size * step
        if float(gradient @ step) < 1e-18:
            break
    return weights[:-1], weights[-1]
