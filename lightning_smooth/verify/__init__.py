"""Deterministic certifiers of the model itself: nothing is drawn, nothing is left to chance."""

from lightning_smooth.verify.enumerate import EnumerationCertifier
from lightning_smooth.verify.listing import Listing, listing

__all__ = ["EnumerationCertifier", "Listing", "listing"]
