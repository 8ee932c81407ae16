"""Deterministic certifiers of the model itself: nothing is drawn, nothing is left to chance."""

from lightning_smooth.verify.crown import crown_bounds, crown_bounds_of_forms, crown_margins
from lightning_smooth.verify.enclosure import Enclosure
from lightning_smooth.verify.enumerate import EnumerationCertifier
from lightning_smooth.verify.graph import BoundedNetwork, bounded
from lightning_smooth.verify.interval import IntervalEnclosure
from lightning_smooth.verify.layers import LayerEnclosure
from lightning_smooth.verify.linear import LinearEnclosure
from lightning_smooth.verify.lirpa import lirpa_bounds
from lightning_smooth.verify.listing import Listing, listing
from lightning_smooth.verify.methods import IntervalVerifier, LinearVerifier, SemantifyVerifier
from lightning_smooth.verify.propagation import interval_bounds, margins
from lightning_smooth.verify.regions import Bounds, ParameterForms, PixelBox
from lightning_smooth.verify.verifier import BoxVerifier

__all__ = [
    "BoundedNetwork",
    "Bounds",
    "BoxVerifier",
    "Enclosure",
    "EnumerationCertifier",
    "IntervalEnclosure",
    "IntervalVerifier",
    "LayerEnclosure",
    "LinearEnclosure",
    "LinearVerifier",
    "Listing",
    "ParameterForms",
    "PixelBox",
    "SemantifyVerifier",
    "bounded",
    "crown_bounds",
    "crown_bounds_of_forms",
    "crown_margins",
    "interval_bounds",
    "lirpa_bounds",
    "listing",
    "margins",
]
