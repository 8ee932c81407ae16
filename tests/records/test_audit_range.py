"""Records of ranges that say more than their counts show."""

import dataclasses

import pytest

from lightning_smooth.maths.sequential import Looks
from lightning_smooth.records.anchor import Anchor
from lightning_smooth.records.audit_checks import _compare_settings, subject
from lightning_smooth.records.certificate import Certificate

RULE = Looks(2000, 0.001 / 4)


def anchor(theta=0.0, hits=(64, 128), cost=1.0, covers=(((-10.0,), (10.0,)),)):
    looks = tuple(zip(RULE.sizes, hits, strict=False))
    return Anchor(theta=(theta,), looks=looks, p_lower=RULE.running(hits), cost=cost, covers=covers)


def certificate(*anchors, **changed):
    anchors = anchors or (anchor(),)
    made = Certificate(
        index=0, label=1, candidate=1, predicted=1, radius=1.0, radius_unit="box",
        guarantee="certified", hits=sum(a.looks[-1][1] for a in anchors),
        n=sum(a.looks[-1][0] for a in anchors), n0=20,
        p_lower=min((a.p_lower for a in anchors if a.covers), default=0.0), alpha=0.001,
        ledger={"anchors": 0.001}, method="cover", seed=0, seconds=0.0, votes0={1: 20},
        parameters={
            "transform": "Rotation()", "box": {"angle": [-10.0, 10.0]}, "identity": [0.0],
            "sigma": 0.25, "radii": [1.0], "anchors": 4, "n": 2000, "stray": 0.025,
            "stored": "float32",
        },
        decisions={"1.0": "held"}, anchors=anchors,
    )  # fmt: skip
    return dataclasses.replace(made, **changed)


def fault(case):
    return subject(case, {}).failure


def parameters(**changed):
    return {**certificate().parameters, **changed}


def test_an_honest_record_is_what_its_counts_give():
    found = subject(Certificate.from_json(certificate().to_json()), {})
    assert not found.failure
    _, exact, _ = found.verdicts
    assert (exact.certified, exact.radius, exact.decisions) == (True, 1.0, {"1.0": "held"})


@pytest.mark.parametrize(
    "case",
    [
        certificate(anchor(hits=(10,), cost=-1.0)),
        certificate(anchor(hits=(10,), cost=0.0)),
        certificate(anchor(cost=float("inf"))),
        certificate(dataclasses.replace(anchor(), p_lower=0.9999)),
        certificate(anchor(covers=(((-10.0,), (11.0,)),))),
        certificate(anchor(covers=(((-10.0, 0.0), (10.0, 0.0)),))),
        certificate(dataclasses.replace(anchor(), looks=((64, 65), (128, 128)))),
        certificate(dataclasses.replace(anchor(), looks=((50, 50),))),
        certificate(*[anchor()] * 5),
        certificate(ledger={"anchors": 0.01}),
        certificate(hits=127),
        certificate(n0=0, votes0={}),
        certificate(votes0={0: 20}),
        certificate(method="path"),
        certificate(method="gsmooth"),
        certificate(parameters=parameters(surrogate={}, scales={})),
        certificate(parameters=parameters(identity=[])),
        certificate(parameters=parameters(box={})),
        certificate(parameters=parameters(radii=[])),
        certificate(parameters=parameters(box={"angle": [1.0, 10.0]})),
        certificate(uncovered=(((0.0, 0.0), (1.0, 1.0)),)),
    ],
    ids=range(21),
)
def test_what_contradicts_itself_is_a_fault(case):
    assert fault(case)


@pytest.mark.parametrize(
    ("case", "radius"),
    [
        (certificate(anchor(cost=2.5)), 0.0),
        (certificate(anchor(covers=(((-10.0,), (5.0,)),))), 0.5),
        (certificate(uncovered=(((5.0,), (5.0,)),)), 0.5),
        (certificate(uncovered=(((10.0,), (10.0,)),)), 1.0),
        (certificate(uncovered=(((0.0,), (0.0,)),)), 0.0),
    ],
)
def test_a_radius_is_no_larger_than_what_is_covered(case, radius):
    _, exact, most = subject(case, {}).verdicts
    assert exact.radius == pytest.approx(radius, abs=1e-6)
    assert exact.radius < 1
    assert most.radius < 1


def test_draws_of_all_anchors_are_no_contradiction_to_the_settings_of_one():
    several = certificate(*[anchor(hits=RULE.sizes)] * 3)
    assert several.n > 2000
    assert not list(_compare_settings(several, {"n": 2000}, True))
    assert list(_compare_settings(several, {"n": 1000}, True))
