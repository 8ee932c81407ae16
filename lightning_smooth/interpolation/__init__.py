"""Sound bounds of what bilinear interpolation does to an image. torch only."""

from lightning_smooth.interpolation.error import ErrorBounds, RotationError
from lightning_smooth.interpolation.translation import TranslationError

__all__ = ["ErrorBounds", "RotationError", "TranslationError"]
