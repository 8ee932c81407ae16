"""Logistic regression beside scikit-learn's."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from lightning_smooth.defenses.logistic import fit_logistic


@pytest.mark.parametrize("apart", [0.0, 1.0, 30.0])
def test_it_is_scikit_learns(apart):
    torch.manual_seed(0)
    truth = (torch.rand(200) < 0.3).double()
    values = torch.randn(200, 4, dtype=torch.float64) + apart * truth[:, None]
    slope, intercept = fit_logistic(values, truth)
    theirs = LogisticRegression(tol=1e-12, max_iter=10_000).fit(values.numpy(), truth.numpy())
    torch.testing.assert_close(slope, torch.tensor(theirs.coef_[0]), rtol=1e-4, atol=1e-5)
    assert float(intercept) == pytest.approx(theirs.intercept_[0], rel=1e-4, abs=1e-5)
    odds = values @ slope + intercept
    pull = values.mT @ (odds.sigmoid() - truth) + slope
    assert pull.abs().max() < 1e-7
