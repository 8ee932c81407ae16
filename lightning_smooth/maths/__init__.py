"""Bounds, tests and radii in float64: numpy, scipy and statsmodels alone."""
