"""Records of ranges that say more than their counts show."""

import dataclasses
import json
from pathlib import Path

import pytest

from lightning_smooth.maths.sequential import Looks
from lightning_smooth.records.anchor import Anchor
from lightning_smooth.records.audit import audit
from lightning_smooth.records.audit_case import subject
from lightning_smooth.records.audit_counts import _compare_settings
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


REAL = Path(__file__).parents[2] / "docs" / "results" / "ranges" / "rotational-blur.jsonl"
SPENT = {"anchor_alpha": 0.001 / 4}


def failed(hits, needed=0.85, covers=(), **changed):
    """A test that did not show what it was to show: 60 of 64 are few, 30 of 64 hopeless."""
    return dataclasses.replace(anchor(hits=hits, cost=0.0, covers=covers), needed=needed, **changed)


def counted(*anchors, **changed):
    """A certificate that says what its tests spend and were to show, and all of their votes."""
    made = certificate(*(anchors or (anchor(),)), measured=SPENT)
    votes = {1: made.hits, 0: made.n - made.hits} if made.n > made.hits else {1: made.hits}
    return dataclasses.replace(made, votes=votes, **changed)


def lost(*anchors, said):
    """One that abstains, as nothing around the identity is covered."""
    return counted(
        *anchors, predicted=-1, radius=0.0, uncovered=(((-10.0,), (10.0,)),),
        decisions={"1.0": said}, p_lower=min(max(a.p_lower for a in anchors), 0.5),
    )  # fmt: skip


def audited(tmp_path, case, change=None):
    """What the audit of a file with this one record finds, after a change of its JSON."""
    header = json.loads(REAL.read_text().split("\n", 1)[0])
    header |= {"certifier": {"method": case.method}}
    header |= {"selection": {"skip": 1, "limit": 1, "images": 1}}
    line = json.loads(case.to_json())
    if change is not None:
        change(line)
    (tmp_path / "records.jsonl").write_text(json.dumps(header) + "\n" + json.dumps(line) + "\n")
    return audit(tmp_path / "records.jsonl")


@pytest.mark.parametrize(
    "case",
    [
        counted(),
        counted(failed((30,)), anchor()),
        counted(failed((60, 100)), anchor()),
        lost(failed((30,)), said="not held"),
        lost(failed((60, 90)), said="not held"),
        lost(failed((60,)), said="undecided"),
    ],
    ids=range(6),
)
def test_records_with_all_their_counts_have_nothing_unchecked(tmp_path, case):
    assert Certificate.from_json(case.to_json()) == case
    found = audited(tmp_path, case)
    assert not found.faults
    assert not found.notes
    for check in ("bound", "verdict", "decisions", "ledger", "hits", "votes"):
        assert found.tallies[check].passed == 1


def one_hit_more(line):
    line["hits"] += 1


def one_hit_more_of_an_anchor(line):
    line["anchors"][0]["looks"][-1][1] += 1


def one_hit_more_everywhere_but_in_the_votes(line):
    line["hits"] += 1
    line["anchors"][0]["looks"][-1][1] += 1
    line["anchors"][0]["p_lower"] = RULE.running([h for _, h in line["anchors"][0]["looks"]])


def draws_of_an_anchor(line):
    line["n"] += 64
    line["anchors"][0]["looks"][-1][0] += 64


def a_vote_less(line):
    line["votes"]["1"] -= 1


def more_alpha(line):
    line["measured"]["anchor_alpha"] *= 1.5


def less_alpha(line):
    line["measured"]["anchor_alpha"] /= 2


def no_alpha(line):
    line["measured"]["anchor_alpha"] = 0.0


def more_tests_of_it(line):
    line["parameters"]["anchors"] = 8


def it_held(line):
    del line["anchors"][0]["needed"]


def it_had_to_show_less(line):
    line["anchors"][0]["needed"] = 0.6


def it_had_to_show_nothing(line):
    line["anchors"][0]["needed"] = float("nan")


def it_had_to_show_what_nothing_shows(line):
    line["anchors"][0]["needed"] = 0.99999


def its_alpha_is_not_said(line):
    del line["measured"]


@pytest.mark.parametrize(
    ("change", "checks"),
    [
        (one_hit_more, {"bound", "hits"}),
        (one_hit_more_of_an_anchor, {"bound", "hits"}),
        (one_hit_more_everywhere_but_in_the_votes, {"hits"}),
        (draws_of_an_anchor, {"bound"}),
        (a_vote_less, {"hits"}),
        (more_alpha, {"bound", "ledger"}),
        (less_alpha, {"bound"}),
        (no_alpha, {"bound"}),
        (more_tests_of_it, {"bound", "ledger"}),
        (it_held, {"bound"}),
        (it_had_to_show_less, {"bound"}),
        (it_had_to_show_nothing, {"lines", "complete"}),
        (it_had_to_show_what_nothing_shows, {"bound"}),
        (its_alpha_is_not_said, {"bound"}),
    ],
)
def test_what_was_changed_is_found(tmp_path, change, checks):
    case = counted(failed((60, 105), needed=0.85), anchor(hits=(63, 127)))
    assert not audited(tmp_path, case).faults
    assert {fault.check for fault in audited(tmp_path, case, change).faults} == checks


def test_alpha_beyond_its_budget_is_unsound(tmp_path):
    (fault,) = [f for f in audited(tmp_path, counted(), more_alpha).faults if f.check == "ledger"]
    assert fault.kind == "unsound"


def test_a_test_does_not_go_on_after_it_was_given_up():
    assert "given up" in fault(counted(failed((30, 60)), anchor()))


def test_what_is_not_held_was_given_up():
    assert "not given up" in fault(lost(failed((60,)), said="not held"))
    assert "not given up" in fault(lost(failed((30,)), failed((60,)), said="not held"))


def test_records_without_what_each_anchor_spends_are_audited_with_a_note(tmp_path):
    case = certificate(anchor(hits=(63, 127)))
    found = audited(tmp_path, case)
    (note,) = found.notes
    assert note.startswith("1 certificates hold draws and hits")
    assert not found.faults
    assert found.tallies["hits"].passed == 1
    assert {f.check for f in audited(tmp_path, case, one_hit_more).faults} == {"bound", "hits"}


def test_published_records_pass_with_the_note():
    found = audit(REAL)
    assert not found.faults
    assert found.tallies["hits"].passed == found.certificates == 500
    assert found.notes[-1].startswith("500 certificates")
