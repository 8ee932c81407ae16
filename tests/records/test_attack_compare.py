"""Attacks beside certificates: what rules an attack out, and what contradicts what."""

import math

import pytest

from lightning_smooth.records.attack_compare import beside, ruled_out, same_classifier
from lightning_smooth.records.attack_runs import load_attacks
from tests.records.attacked import (
    CERTIFIER,
    GRID,
    HEAD,
    MODEL,
    SMOOTHED,
    attack_file,
    certificate,
    outcome,
    turned,
)

HEADER = HEAD | {"certifier": CERTIFIER}
RANGE = {
    "method": "cover", "transform": "Rotation()", "box": {"angle": [-40.0, 50.0]},
    "identity": [0.0], "anchors": 8, "sigma": 0.5, "precision": "float32",
}  # fmt: skip
LAW = {"kind": "gaussian", "scale": 30.0}
BALL = {"method": "resolvable", "transform": "Rotation()", "laws": {"angle": LAW}}
BALL |= {"target": {"unit": "degrees"}, "precision": "float32"}
SCALED = BALL | {"target": {"box": {"angle": [0.0, 10.0]}}}


def compared(tmp_path, rows, held, parts=SMOOTHED, header=HEADER, **head):
    (attack,) = load_attacks(attack_file(tmp_path / "attack.jsonl", rows, parts, **head))
    return beside(attack, header, held)


def test_certified_accuracy_is_that_of_the_very_same_images(tmp_path):
    held = [certificate(i, r) for i, r in enumerate((0.75, 0.5, 0.4999, 0.75, 0.75))]
    held[3] = certificate(3, label=5)
    rows = [outcome(i) for i in (0, 1, 2, 3, 9)]
    found = compared(tmp_path, rows, held)
    assert (found.radius, found.why, found.same) == (0.5, "", True)
    assert (found.images, found.held, found.withstood) == (4, 2, 4)
    assert found.certified == 0.5
    assert found.contradicted == found.silent == found.doubted == ()


def test_another_class_within_the_radius_is_a_contradiction(tmp_path):
    rows = [
        outcome(0, 7), outcome(1, 7, distance=0.2), outcome(2, 7, distance=0.3), outcome(3, 7),
        outcome(4), outcome(5, clean=7), outcome(6, 7, distance=0.5), outcome(7, clean=-1),
    ]  # fmt: skip
    radii = (0.75, 0.25, 0.25, 0.0, 0.75, 0.1, 0.5, 0.75)
    held = [certificate(i, r) for i, r in enumerate(radii)]
    held[3] = certificate(3, 0.0, predicted=-1)
    found = compared(tmp_path, rows, held)
    # Image 6 is broken at its radius itself, which certified accuracy counts as held.
    assert found.contradicted == (0, 1, 5, 6)
    assert found.silent == (7,)
    assert (found.withstood, found.held) == (1, 4)


def test_an_abstention_is_no_contradiction_though_accuracy_falls_below(tmp_path):
    rows = [outcome(0, -1), outcome(1, -1), outcome(2)]
    found = compared(tmp_path, rows, [certificate(0), certificate(1, 0.3), certificate(2)])
    assert (found.withstood, found.held) == (1, 2)
    assert found.contradicted == ()
    assert found.silent == (0,)


@pytest.mark.parametrize(
    ("parts", "same"),
    [
        (MODEL, False),
        (SMOOTHED | {"certifier": CERTIFIER | {"sigma": 0.25}}, False),
        (SMOOTHED | {"certifier": CERTIFIER | {"precision": "bf16"}}, False),
        (SMOOTHED | {"certifier": CERTIFIER | {"method": "gaussian soft"}}, False),
        (SMOOTHED | {"certifier": CERTIFIER | {"n": 7, "alpha": 0.1, "seed": 3}}, True),
    ],
)
def test_only_the_certified_classifier_can_contradict(tmp_path, parts, same):
    found = compared(tmp_path, [outcome(0, 7, parts=parts)], [certificate(0)], parts)
    assert found.same is same
    assert found.contradicted == ((0,) if same else ())
    assert (found.certified, found.withstood) == (1.0, 0)


def test_a_network_that_was_not_smoothed_is_no_smoothed_classifier():
    assert not same_classifier({"method": "enumeration"}, {"method": "enumeration"})


@pytest.mark.parametrize(
    ("header", "changes", "why"),
    [
        (HEADER | {"model": {"architecture": "small", "weights": "ff"}}, {}, "other weights"),
        (HEADER | {"data": {"name": "mnist", "digest": "ff"}}, {}, "other data"),
        (HEADER, {"image": "f" * 16}, "other images"),
        (HEADER, {"index": 4}, "none of the images"),
    ],
)
def test_what_belongs_to_something_else_is_not_compared(tmp_path, header, changes, why):
    found = compared(tmp_path, [outcome(0, 7)], [certificate(**{"index": 0} | changes)], SMOOTHED,
                     header)  # fmt: skip
    assert found.why.startswith(why)
    assert found.certified is None
    assert found.contradicted == ()


def test_an_attack_without_bound_is_compared_by_its_distances(tmp_path):
    parts = SMOOTHED | {"bound": None}
    rows = [outcome(0, 7, parts=parts), outcome(1, 7, distance=0.8, parts=parts)]
    found = compared(tmp_path, rows, [certificate(0), certificate(1)], parts)
    assert (found.radius, found.why, found.certified) == (None, "no bound", None)
    assert found.contradicted == (0,)


def test_claims_that_are_less_than_certified_are_doubted(tmp_path):
    held = [certificate(0, guarantee="estimated")]
    held.append(certificate(1, parameters={"holds_for": "images"}, measured={"q": 0.9}))
    found = compared(tmp_path, [outcome(0, 7), outcome(1, 7)], held)
    assert (found.contradicted, found.doubted) == ((), (0, 1))


@pytest.mark.parametrize(
    ("parts", "certifier", "unit", "radius", "why"),
    [
        (MODEL, CERTIFIER, "l2", 0.5, ""),
        (MODEL, CERTIFIER, "linf", None, "certified in \N{SCRIPT SMALL L}∞ norm"),
        (MODEL, BALL, "degrees", None, "certified in parameters"),
        (GRID, CERTIFIER, "l2", None, "certified in ℓ₂ norm"),
        (GRID, RANGE, "box", 0.5, ""),
        (GRID | {"box": {"angle": [-20.0, 45.0]}}, RANGE, "box", 0.9, ""),
        (GRID | {"box": {"angle": [-41.0, 0.0]}}, RANGE, "box", None, "beyond the range"),
        (GRID | {"transform": "Scaling()"}, RANGE, "box", None, "another transformation"),
        (GRID | {"box": {"scale": [0.5, 1.0]}}, RANGE, "box", None, "scale is not certified"),
        (GRID | {"box": {"angle": [-30.0, 20.0]}}, BALL, "degrees", 30.0, ""),
        (GRID | {"box": {"angle": [0.0, 25.0]}}, SCALED, "box", 2.5, ""),
        (GRID | {"box": {"angle": [-1.0, 5.0]}}, SCALED, "box", None, "beyond the range"),
        (GRID | {"box": 3}, RANGE, "box", None, "the range cannot be read"),
    ],
)
def test_the_radius_that_rules_an_attack_out(parts, certifier, unit, radius, why):
    found, said = ruled_out(parts, certifier, unit)
    assert found == (None if radius is None else pytest.approx(radius, rel=1e-12))
    assert said.startswith(why)
    assert (said == "") == (radius is not None)


def test_the_far_corner_and_the_ball_rule_out_two_parameters():
    laws = {"dx": LAW, "dy": LAW}
    two = {"transform": "T", "laws": laws, "target": {"unit": "pixels"}}
    box = {"transform": "T", "box": {"dx": [-3.0, 1.0], "dy": [0.0, 4.0]}}
    assert ruled_out(box, two, "pixels") == (5.0, "")
    ball = {"transform": "T", "radius": 5.0}
    assert ruled_out(ball, two, "pixels") == (5.0, "")
    part = {"transform": "T", "box": {"dx": [-10.0, 5.0], "dy": [-10.0, 10.0]}}
    covered = part | {"identity": [0.0, 0.0], "anchors": 8}
    assert ruled_out(ball, covered, "box") == (1.0, "")
    assert ruled_out({"transform": "T", "radius": 6.0}, covered, "box")[0] is None
    assert ruled_out({"transform": "T", "box": {"dy": [0.0, 5.0]}}, covered, "box") == (0.5, "")


def test_an_answer_within_a_range_contradicts_it(tmp_path):
    parts = GRID | {"certifier": RANGE}
    rows = [turned(i, a, 7, parts) for i, a in enumerate((20.0, 20.0, -20.0, 20.0))]
    rows.append(turned(4, 20.0, -1, parts))
    unit = {"radius_unit": "box", "parameters": RANGE}
    held = [certificate(i, r, **unit) for i, r in enumerate((0.4, 0.39, 0.5, 0.75, 0.75))]
    found = compared(tmp_path, rows, held, parts, HEAD | {"certifier": RANGE})
    # A range is covered by closed boxes: 20 of 50 is within 0.4 of it.
    assert found.contradicted == (0, 2, 3)
    assert found.radius == pytest.approx(0.5)
    assert found.silent == (4,)


def test_a_radius_of_laws_is_open(tmp_path):
    parts = GRID | {"certifier": BALL}
    unit = {"radius_unit": "degrees", "parameters": BALL}
    rows = [turned(0, 15.0, 7, parts), turned(1, 15.0, 7, parts)]
    held = [certificate(0, 0.75, **unit), certificate(1, 0.75, **unit)]
    held = [type(c)(**{**vars(c), "radius": r}) for c, r in zip(held, (15.0, 15.01), strict=True)]
    found = compared(tmp_path, rows, held, parts, HEAD | {"certifier": BALL})
    assert found.contradicted == (1,)
    assert math.isclose(found.radius, 20.0)
