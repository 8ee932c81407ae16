"""Attacks on the parameters of a transformation: many are tried, and the worst is kept."""

from lightning_smooth.attacks.adaptive import AdaptiveAttack
from lightning_smooth.attacks.base import ParameterAttack
from lightning_smooth.attacks.grid import GridAttack
from lightning_smooth.attacks.random import RandomAttack, RandomBallAttack
from lightning_smooth.attacks.search import Search
from lightning_smooth.attacks.searches import BaseSearch, SmoothedSearch
from lightning_smooth.records.attack import AttackOutcome

__all__ = [
    "AdaptiveAttack",
    "AttackOutcome",
    "BaseSearch",
    "GridAttack",
    "ParameterAttack",
    "RandomAttack",
    "RandomBallAttack",
    "Search",
    "SmoothedSearch",
]
