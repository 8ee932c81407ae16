"""Deterministic certifiers of the model itself: nothing is drawn, nothing is left to chance."""

from lightning_smooth.verify.crown import crown_bounds, crown_bounds_of_forms, crown_margins
from lightning_smooth.verify.enumerate import EnumerationCertifier
from lightning_smooth.verify.graph import BoundedNetwork, bounded
from lightning_smooth.verify.listing import Listing, listing
from lightning_smooth.verify.propagation import interval_bounds, margins
from lightning_smooth.verify.regions import Bounds, ParameterForms, PixelBox

__all__ = [
    "BoundedNetwork",
    "Bounds",
    "EnumerationCertifier",
    "Listing",
    "ParameterForms",
    "PixelBox",
    "bounded",
    "crown_bounds",
    "crown_bounds_of_forms",
    "crown_margins",
    "interval_bounds",
    "listing",
    "margins",
]
