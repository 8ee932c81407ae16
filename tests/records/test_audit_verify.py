"""Records of verifiers that contradict themselves, or say more than they left uncovered."""

import dataclasses

import pytest

from lightning_smooth.records.audit_case import subject
from lightning_smooth.records.audit_checks import CHECKS
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.measure import measure

FAR = (((-10.0,), (-6.0,)), ((5.0,), (10.0,)))
PARAMETERS = {
    "transform": "Rotation()", "box": {"angle": [-10.0, 10.0]}, "identity": [0.0],
    "radii": [0.0, 0.25, 0.75, 1.0], "stored": "float32", "parts": 4, "boxes": 100,
    "seconds": None, "batch": 16, "bound": "crown", "intermediate": "interval", "enclosure": {},
    "units": {"angle": "degrees"}, "classes": 10,
}  # fmt: skip
MEASURED = {"boxes": 9, "held": 4, "depth": 2, "timed_out": 0}
OTHER = {"nearest": 0.6, "nearest_class": 7, "nearest_angle": 6.0}
DECIDED = {"0.0": "held", "0.25": "held", "0.75": "not held", "1.0": "not held"}


def certificate(**changed):
    made = Certificate(
        index=0, label=1, candidate=1, predicted=1, radius=0.5 * (1 - 2.0**-22),
        radius_unit="box", guarantee="certified", hits=0, n=0, n0=0, p_lower=0.0, alpha=0.0,
        ledger={}, method="interval", seed=0, seconds=0.1, parameters=PARAMETERS,
        decisions=DECIDED, uncovered=FAR, measured=MEASURED | OTHER,
    )  # fmt: skip
    return dataclasses.replace(made, **changed)


def parameters(**changed):
    return {**PARAMETERS, **changed}


def measured(**changed):
    return {k: v for k, v in {**MEASURED, **OTHER, **changed}.items() if v is not None}


NONE = dict.fromkeys(OTHER)
WHOLE = {
    "radius": 1.0, "uncovered": (), "decisions": dict.fromkeys(DECIDED, "held"),
    "measured": measured(**NONE, boxes=6, held=5),
}  # fmt: skip


def problems(case, settings=PARAMETERS):
    found = subject(case, {"certifier": {"method": case.method, "alpha": 0.0, **settings}})
    return {(name, p.kind) for name, (_, check) in CHECKS.items() for p in check(found) or []}


@pytest.mark.parametrize("method", ["interval", "linear", "semantify"])
@pytest.mark.parametrize(
    "changed",
    [
        {},
        WHOLE,
        {"measured": measured(**NONE), "decisions": DECIDED | {"0.75": "undecided",
                                                               "1.0": "undecided"}},
        {"uncovered": (((-10.0,), (10.0,)),), "radius": 0.0, "measured": measured(held=0),
         "decisions": DECIDED | {"0.25": "undecided"}},
    ],
)  # fmt: skip
def test_an_honest_record_passes(method, changed):
    case = certificate(method=method, **changed)
    assert problems(Certificate.from_json(case.to_json())) == set()


@pytest.mark.parametrize(
    "changed",
    [
        {"n": 1},
        {"n0": 1},
        {"n": 3, "hits": 2},
        {"alpha": 0.001},
        {"ledger": {"anchors": 0.0}},
        {"votes0": {1: 1}},
        {"measured": measured(nearest=0.4, nearest_angle=4.0)},
        {"measured": measured(nearest=0.9)},
        {"measured": measured(nearest_angle=11.0)},
        {"measured": measured(nearest_angle=None)},
        {"measured": measured(nearest=None)},
        {"measured": measured(nearest_class=1)},
        {"measured": measured(nearest_class=10)},
        {"measured": measured(nearest_class=-2)},
        {"measured": measured(boxes=101)},
        {"measured": measured(held=10)},
        {"measured": measured(held=0)},
        {"measured": measured(held=-1)},
        {"measured": measured(depth=None)},
        {"measured": measured(depth=0)},
        {"measured": measured(depth=9)},
        {"candidate": 10, "predicted": 10},
        {"candidate": -1},
        {"parameters": {k: v for k, v in PARAMETERS.items() if k != "classes"}},
        {"measured": measured(timed_out=1)},
        {"measured": measured(boxes=1.5)},
        {"uncovered": (*FAR, ((10.0,), (11.0,)))},
        {"uncovered": (((5.0, 0.0), (6.0, 1.0)),)},
        {"parameters": parameters(box={"angle": [1.0, 10.0]})},
        {"parameters": parameters(identity=[])},
        {"parameters": parameters(stored="int8")},
        {"parameters": parameters(bound="best")},
        {"parameters": {k: v for k, v in PARAMETERS.items() if k != "intermediate"}},
        {"parameters": {k: v for k, v in PARAMETERS.items() if k != "boxes"}},
        {"method": "linear", "parameters": parameters(bound="interval")},
        {**WHOLE, "measured": measured(**NONE, boxes=5, held=5)},
    ],
)
def test_what_contradicts_itself_is_a_fault(changed):
    assert ("bound", "contradiction") in problems(certificate(**changed))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"radius": 0.51}, ("radius", "unsound")),
        ({"radius": 0.4}, ("radius", "not reproducible")),
        ({"uncovered": FAR[:1], "measured": measured(nearest=0.7, nearest_angle=-7.0)},
         ("radius", "not reproducible")),
        ({"uncovered": (*FAR, ((1.0,), (2.0,)))}, ("radius", "unsound")),
        ({"decisions": DECIDED | {"0.75": "held"}}, ("decisions", "unsound")),
        ({"decisions": DECIDED | {"0.75": "undecided"}}, ("decisions", "not reproducible")),
        ({"predicted": -1, "radius": 0.0}, ("verdict", "not reproducible")),
        ({"p_lower": 0.9}, ("bound", "unsound")),
        ({"radius_unit": "l2"}, ("guarantee", "unsound")),
        ({"guarantee": "estimated"}, ("guarantee", "not reproducible")),
        ({"parameters": parameters(boxes=99)}, ("settings", "contradiction")),
    ],
)  # fmt: skip
def test_a_change_is_found(changed, problem):
    assert problem in problems(certificate(**changed))


def test_reports_say_what_was_attacked():
    said = measure("box", PARAMETERS)
    assert said.of_range
    assert said.axis == "part of the range: angle ±10"
    assert said.below("0.5") == "Rotation() within 0.5 times the range (angle ±10)"


PATCHES = parameters(
    transform="Occlusion(value=0)", identity=[0.0, None, None], whole=["side", "x", "y"],
    box={"side": [0.0, 5.0], "x": [-4.0, 27.0], "y": [-4.0, 27.0]}, parts=8, boxes=1000,
    radii=[0.0, 0.4, 0.6, 1.0],
)  # fmt: skip
AT = {"nearest": 0.5, "nearest_class": 7, "nearest_side": 3.0, "nearest_x": 13.0, "nearest_y": 2.0}
TRIED = {"boxes": 204, "held": 198, "depth": 2, "timed_out": 0, **AT}
SIDES = {"0.0": "held", "0.4": "held", "0.6": "not held", "1.0": "not held"}
BEYOND = (((2.5, -4.0, -4.0), (5.0, 27.0, 27.0)),)


def patched(**changed):
    own = {"method": "semantify", "parameters": PATCHES, "measured": TRIED, "decisions": SIDES}
    return certificate(**{**own, "uncovered": BEYOND, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"uncovered": (((2.5, 12.5, 1.5), (3.5, 13.5, 2.5)), ((3.5, -4.0, -4.0), BEYOND[0][1]))},
        {"radius": 1.0, "uncovered": (), "decisions": dict.fromkeys(SIDES, "held"),
         "measured": {"boxes": 400, "held": 392, "depth": 2, "timed_out": 0}},
        {"measured": {"boxes": 500, "held": 198, "depth": 2, "timed_out": 0},
         "decisions": SIDES | {"0.6": "undecided", "1.0": "undecided"}},
    ],
)  # fmt: skip
def test_an_honest_record_of_patches_passes(changed):
    case = patched(**changed)
    assert problems(Certificate.from_json(case.to_json()), PATCHES) == set()


@pytest.mark.parametrize(
    "changed",
    [
        # x and y are places, and the side is none.
        {"parameters": {**PATCHES, "identity": [0.0, 0.0, 0.0]}},
        {"parameters": {**PATCHES, "identity": [None, None, None]}},
        {"parameters": {**PATCHES, "identity": [None, 0.0, None]}},
        {"parameters": {**PATCHES, "identity": [0.0, None]}},
        {"parameters": {**PATCHES, "identity": [3.0, None, None]}},
        {"parameters": {**PATCHES, "transform": "Rotation()"}},
        {"parameters": {**PATCHES, "transform": "Occlusions()"}},
        {"parameters": {**PATCHES, "whole": ["side"]}},
        {"parameters": {**PATCHES, "whole": None}},
        {"parameters": {k: v for k, v in PATCHES.items() if k != "whole"}},
        {"parameters": {**PATCHES, "box": {"side": [1.0, 5.0], "x": [0, 9], "y": [0, 9]}}},
        {"parameters": {**PATCHES, "box": {"side": [0.0, 5.0], "x": [0, 9], "y": [0, 9]}}},
        {"uncovered": (((2.5,), (5.0,)),)},
        {"uncovered": (((2.5, -4.0, -5.0), (5.0, 27.0, 27.0)),)},
        # A patch with another answer below the radius, of no whole side, or elsewhere.
        {"measured": {**TRIED, "nearest": 0.3, "nearest_side": 2.0}},
        {"measured": {**TRIED, "nearest": 0.6}},
        {"measured": {**TRIED, "nearest_side": 2.5}},
        {"measured": {**TRIED, "nearest_x": 12.5}},
        {"measured": {**TRIED, "nearest_y": 40.0}},
        {"measured": {k: v for k, v in TRIED.items() if k != "nearest_y"}},
        # 6 x 8 x 8 parts to begin with, not 8 x 8 x 8.
        {"measured": {**TRIED, "boxes": 385, "depth": 0}},
        {"radius": 1.0, "uncovered": (), "decisions": dict.fromkeys(SIDES, "held"),
         "measured": {"boxes": 512, "held": 512, "depth": 0, "timed_out": 0}},
    ],
)  # fmt: skip
def test_patches_that_contradict_themselves_are_a_fault(changed):
    assert ("bound", "contradiction") in problems(patched(**changed))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"radius": 0.6}, ("radius", "unsound")),
        ({"radius": 0.4}, ("radius", "not reproducible")),
        ({"uncovered": (((1.5, 5.0, 5.0), (2.5, 6.0, 6.0)), *BEYOND)}, ("radius", "unsound")),
        ({"decisions": SIDES | {"0.6": "held"}}, ("decisions", "unsound")),
        ({"decisions": SIDES | {"0.6": "undecided"}}, ("decisions", "not reproducible")),
    ],
)
def test_a_change_of_patches_is_found(changed, problem):
    assert problem in problems(patched(**changed))


def test_a_rotation_has_no_places_and_no_whole_numbers():
    for changed in ({"identity": [None]}, {"whole": ["angle"]}):
        assert ("bound", "contradiction") in problems(
            certificate(parameters={**PARAMETERS, **changed})
        )


def test_reports_say_where_patches_are():
    said = measure("box", PATCHES)
    assert said.axis == "part of the range: side 0 to 5, anywhere in x -4 to 27, y -4 to 27"
    assert said.below("1").startswith("Occlusion(value=0) within the range (side 0 to 5, anywhere")
