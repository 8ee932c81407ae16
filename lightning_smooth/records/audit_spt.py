"""SPT, computed again: rho from the errors, decisions from the tests (THEORY section 6).

Errors themselves follow from the image, which is not in the record: E is taken as it stands there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_smooth.errors import RecordError
from lightning_smooth.maths.confidence import clopper_pearson_upper
from lightning_smooth.maths.laws import GaussianLaw
from lightning_smooth.maths.radius import gaussian_probability
from lightning_smooth.maths.sequential import Looks
from lightning_smooth.maths.spt import (
    ERROR_SHARE,
    HOLDS_FOR,
    PAIRS,
    OuterTest,
    alpha_of_attempt,
    failures_allowed,
    hits_shown,
)
from lightning_smooth.records.audit_methods import Recomputed, Verdict, audits, number
from lightning_smooth.records.audit_sequential import rule_of
from lightning_smooth.records.certificate import Certificate

_SETTINGS = ("transform", "scale", "sigma", "preprocessing", "stored", "inner", "level")


@audits("dist spt x")
def dist_spt_x(c: Certificate) -> Recomputed:
    """Decisions of radii by the looks, after rho has been bounded again; translations have none."""
    if c.parameters.get("transform") == "Translation()" and "error" not in c.ledger:
        return _translation(c)
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
    _tested_at(c)
    return _outer(c, rho, spent)


def _translation(c: Certificate) -> Recomputed:
    """Each draw was tested at the largest error of its own: there is no rho."""
    if c.parameters.get("errors") != PAIRS:
        raise RecordError(f"`errors` is {c.parameters.get('errors')!r}, not {PAIRS!r}.")
    drawn = [key for key in ("error_draws", "margin", "bin") if c.parameters.get(key) is not None]
    drawn += [key for key in ("rho", "failures", "error_draws", "size") if key in c.measured]
    if drawn:
        raise RecordError(f"There is `{drawn[0]}`, but the ledger gives the error nothing.")
    tested = number(c.measured, "E", where="measured")
    if c.hits and not tested > 0:
        raise RecordError(f"{c.hits} draws passed, tested at {tested!r}.")
    return _outer(c, 0.0, 0.0)


@audits("dist spt d")
def dist_spt_d(c: Certificate) -> Recomputed:
    """Decisions of radii by the looks; q is computed again from the images that verified E."""
    if c.parameters.get("holds_for") != HOLDS_FOR:
        raise RecordError(
            f"`holds_for` is {c.parameters.get('holds_for')!r}, not {HOLDS_FOR!r}: without it the "
            "certificate claims to be about its image."
        )
    found = c.parameters.get("population")
    if not isinstance(found, Mapping):
        raise RecordError("There is no `population` in `parameters`.")
    rho, said = (number(found, key, where="population") for key in ("rho", "q"))
    q = _fraction(found, rho)
    if not 0 < said <= q * (1 + 1e-12):
        raise RecordError(f"`q` is {said!r}, but the images that verified E give {q!r}.")
    if {key: c.measured.get(key) for key in ("rho", "q")} != {"rho": rho, "q": said}:
        raise RecordError("`measured` has not the rho and the q of `population`.")
    if number(c.parameters, "largest", where="parameters") > number(
        found, "largest", where="population"
    ):
        raise RecordError(f"Errors of the population were bounded up to {found['largest']!r}.")
    _tested_at(c)
    return _outer(c, rho, 0.0)


def _fraction(found: Mapping[str, object], rho: float) -> float:
    """The q that a population's counts give."""
    level, alpha, attempt, draws = (
        number(found, key, where="population") for key in ("level", "alpha", "attempt", "draws")
    )
    tally = found.get("failures")
    if not isinstance(tally, Mapping) or not tally:
        raise RecordError(f"`failures` is {tally!r}, not failures -> images.")
    images = {key: number(tally, key, where="failures") for key in tally}
    if not all(str(key).isdecimal() and int(key) <= draws for key in images):
        raise RecordError(f"`failures` is {tally!r}, with {draws:g} draws an image.")
    if not all(count >= 1 and count == int(count) for count in images.values()):
        raise RecordError(f"`failures` is {tally!r}, not numbers of images.")
    allowed = failures_allowed(int(draws), rho, level)
    passed = sum(count for key, count in images.items() if int(key) <= allowed)
    spent = alpha_of_attempt(alpha, int(attempt))
    return hits_shown(int(passed), int(sum(images.values())), level, spent)


@audits("indiv spt")
def indiv_spt(c: Certificate) -> Recomputed:
    """Decisions of radii by the looks; each draw was tested at a distance of its own."""
    if not number(c.measured, "pieces", where="measured") and c.hits:
        raise RecordError(f"{c.hits} hits, though the image has no possible original.")
    return _outer(c, 0.0, 0.0)


def _tested_at(c: Certificate) -> None:
    least, tested, most = (
        number(c.measured, key, where="measured") for key in ("smallest", "E", "size")
    )
    if c.hits and not least <= tested <= most:
        raise RecordError(f"Draws were tested at {tested!r}; rho is of {least!r} to {most!r}.")


def _outer(c: Certificate, rho: float, spent: float) -> Recomputed:
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
    scale, level, sigma = (
        number(c.parameters, key, where="parameters") for key in ("scale", "level", "sigma")
    )
    if not sigma > 0:
        raise RecordError(f"`sigma` is {sigma!r}, not above 0.")
    _inner_tests(c, sigma, level)
    law = GaussianLaw(scale).describe()
    names = {"degrees": ["angle"], "pixels": ["dx", "dy"]}[_unit(c.parameters)]
    if c.parameters.get("laws") != dict.fromkeys(names, law):
        raise RecordError(f"`laws` is {c.parameters.get('laws')!r}, not {law!r} of {names}.")
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


def _inner_tests(c: Certificate, sigma: float, level: float) -> None:
    """Check that as many tests can have passed as hits are claimed."""
    inner = number(c.parameters, "inner", where="parameters")
    if not (inner == int(inner) >= 1 and 0 < level < 1):
        raise RecordError(f"`inner` and `level` are {inner!r} and {level!r}.")
    tests = Looks(int(inner), level)
    least = c.hits * tests.sizes[0]
    if _whole(c, "passes") < least:
        raise RecordError(
            f"{c.hits} tests passed, with {c.measured['passes']!r} draws in all: they take {least}."
        )
    near = number(c.measured, "smallest", where="measured") if "smallest" in c.measured else 0.0
    if c.hits and gaussian_probability(max(near, 0.0), sigma) > tests.running(tests.sizes):
        raise RecordError(f"No count of {int(inner)} draws shows a distance of {near!r}.")


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
