"""Attacks on pixels, and on the parameters of transformations: the worst found is kept."""

from lightning_smooth.attacks.adapters import AutoAttack, FoolboxAttack, TorchattacksAttack
from lightning_smooth.attacks.adaptive import AdaptiveAttack
from lightning_smooth.attacks.base import Attack
from lightning_smooth.attacks.bypass import Bypass
from lightning_smooth.attacks.carlini import CarliniWagner
from lightning_smooth.attacks.deepfool import DeepFool
from lightning_smooth.attacks.diagnosis import GradientMaskingDiagnosis
from lightning_smooth.attacks.expectations import EOT, SmoothedGradient
from lightning_smooth.attacks.findings import Diagnosis
from lightning_smooth.attacks.grid import GridAttack
from lightning_smooth.attacks.hop_skip_jump import HopSkipJump
from lightning_smooth.attacks.image import Attacked, ImageAttack
from lightning_smooth.attacks.judges import Judge, ModelJudge, SmoothedJudge
from lightning_smooth.attacks.parameters import ParameterAttack
from lightning_smooth.attacks.pgd import FGSM, PGD
from lightning_smooth.attacks.projection import ProjectionGradient
from lightning_smooth.attacks.random import RandomAttack, RandomBallAttack
from lightning_smooth.attacks.random_noise import RandomNoise
from lightning_smooth.attacks.reparameterised import (
    ReparameterisedAttack,
    ReparameterisedCarliniWagner,
)
from lightning_smooth.attacks.search import Search
from lightning_smooth.attacks.searches import BaseSearch, SmoothedSearch
from lightning_smooth.attacks.square import Square
from lightning_smooth.attacks.strategies import BPDA, Gradient, PlainGradient
from lightning_smooth.records.attack import AttackOutcome

__all__ = [
    "BPDA",
    "EOT",
    "FGSM",
    "PGD",
    "AdaptiveAttack",
    "Attack",
    "AttackOutcome",
    "Attacked",
    "AutoAttack",
    "BaseSearch",
    "Bypass",
    "CarliniWagner",
    "DeepFool",
    "Diagnosis",
    "FoolboxAttack",
    "Gradient",
    "GradientMaskingDiagnosis",
    "GridAttack",
    "HopSkipJump",
    "ImageAttack",
    "Judge",
    "ModelJudge",
    "ParameterAttack",
    "PlainGradient",
    "ProjectionGradient",
    "RandomAttack",
    "RandomBallAttack",
    "RandomNoise",
    "ReparameterisedAttack",
    "ReparameterisedCarliniWagner",
    "Search",
    "SmoothedGradient",
    "SmoothedJudge",
    "SmoothedSearch",
    "Square",
    "TorchattacksAttack",
]
