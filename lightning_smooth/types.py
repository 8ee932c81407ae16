"""Small types and constants that every room shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Guarantee = Literal["certified", "surrogate", "estimated"]
"""What a radius rests on (THEORY section 0).

`certified`: holds with probability >= 1 - alpha over the sampling alone.
`surrogate`: as above, for a surrogate transformation instead of the real one.
`estimated`: some bound in it was itself estimated by sampling.
"""

RadiusUnit = Literal["l2", "l1", "linf"]
"""The unit of a radius: a norm of the change of an image whose pixels lie in [0, 1]."""

ABSTAIN: Final = -1
"""The class that a smoothed classifier answers when the votes do not decide."""

Precision = Literal["float32", "bf16"]
"""Arithmetic of the base classifier: as its weights are, or autocast to bfloat16.

They are two functions, with two certificates: certify the one that is deployed. Noise is drawn
and added in float32 with either.
"""

Box = Mapping[str, tuple[float, float]]
"""Name of a parameter -> (least, greatest) value, in its unit; those left out stay as they are."""
