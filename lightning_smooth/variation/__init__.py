"""How far transformed images are from the hull of a few of them, over a range of parameters."""

from lightning_smooth.variation.cells import Cells
from lightning_smooth.variation.table import has_bound
from lightning_smooth.variation.vary import vary

__all__ = ["Cells", "has_bound", "vary"]
