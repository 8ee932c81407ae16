"""SPT, computed again: rho from the errors, decisions from the tests (THEORY section 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_smooth.errors import RecordError
from lightning_smooth.maths.confidence import clopper_pearson_upper
from lightning_smooth.maths.spt import ERROR_SHARE, OuterTest
from lightning_smooth.records.audit_methods import Recomputed, Verdict, audits, number
from lightning_smooth.records.audit_sequential import rule_of
from lightning_smooth.records.certificate import Certificate

_SETTINGS = ("transform", "scale", "sigma", "preprocessing", "stored", "inner", "level")


@audits("dist spt x")
def dist_spt_x(c: Certificate) -> Recomputed:
    """Decisions of radii by the looks, after rho has been bounded again."""
    spent = number(c.ledger, "error", where="ledger")
    if spent != ERROR_SHARE * c.alpha:
        raise RecordError(f"The ledger gives the error {spent!r}, not {ERROR_SHARE} of alpha.")
    failures, draws = (_whole(c, key) for key in ("failures", "error_draws"))
    wanted = c.parameters.get("error_draws")
    if not isinstance(wanted, Sequence) or len(wanted) != 2 or wanted[1] != draws:
        raise RecordError(f"{draws} errors were bounded, but `error_draws` is {wanted!r}.")
    if not 0 <= failures <= draws:
        raise RecordError(f"{failures} of {draws} errors are above E.")
    rho = clopper_pearson_upper(failures, draws, spent)
    said = number(c.measured, "rho", where="measured")
    if said < rho * (1 - 1e-12):
        raise RecordError(f"`rho` is {said!r}, but {failures} of {draws} give {rho!r}.")
    least, tested, most = (
        number(c.measured, key, where="measured") for key in ("smallest", "E", "size")
    )
    if c.hits and not least <= tested <= most:
        raise RecordError(f"Draws were tested at {tested!r}; rho is of {least!r} to {most!r}.")
    return _outer(c, rho, spent)


@audits("indiv spt")
def indiv_spt(c: Certificate) -> Recomputed:
    """Decisions of radii by the looks; each draw was tested at a distance of its own."""
    if not number(c.measured, "pieces", where="measured") and c.hits:
        raise RecordError(f"{c.hits} hits, though the image has no possible original.")
    return _outer(c, 0.0, 0.0)


def _outer(c: Certificate, rho: float, spent: float) -> Recomputed:
    if _whole(c, "passes") < c.hits:
        raise RecordError(f"{c.hits} tests passed, with {c.measured['passes']!r} draws in all.")
    missing = [name for name in _SETTINGS if name not in c.parameters]
    if missing:
        raise RecordError(f"There is no `{missing[0]}` in `parameters`.")
    radii = c.parameters.get("radii")
    if not isinstance(radii, Sequence) or sorted(map(repr, radii)) != sorted(c.decisions):
        raise RecordError(f"The decisions are of {list(c.decisions)}, but `radii` is {radii!r}.")
    if not all(isinstance(radius, int | float) for radius in radii):
        raise RecordError(f"`radii` is {radii!r}, not numbers.")
    if max(radii) > number(c.parameters, "largest", where="parameters"):
        raise RecordError(f"Errors were bounded up to {c.parameters['largest']!r} alone.")
    scale, level = (number(c.parameters, key, where="parameters") for key in ("scale", "level"))
    ledger = {name: part for name, part in c.ledger.items() if name != "error" or not spent}
    rule = rule_of(c, c.alpha - spent, ledger)
    test = OuterTest(rule, [float(radius) for radius in radii], scale, rho, level)
    for _, hits in c.looks:
        test.decider.observe(hits)

    def conclude(p: float) -> Verdict:
        certified = test.certified(p)
        return Verdict(
            certified=certified,
            radius=test.radius(p) if certified else 0.0,
            decisions=test.decided(p),
        )

    return Recomputed(
        p_lower=test.decider.p_lower,
        conclude=conclude,
        radius_unit=_unit(c.parameters),
        stops_early=True,
    )


def _whole(c: Certificate, key: str) -> int:
    value = number(c.measured, key, where="measured")
    if value != int(value):
        raise RecordError(f"`{key}` is {value!r}, not a whole number.")
    return int(value)


def _unit(parameters: Mapping[str, object]) -> str:
    units = {"Rotation()": "degrees", "Translation()": "pixels"}
    unit = units.get(str(parameters.get("transform")))
    if unit is None:
        raise RecordError(f"`transform` is {parameters.get('transform')!r}, none of {list(units)}.")
    return unit
