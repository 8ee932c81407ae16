"""How certificates cover a range, in the report."""

import dataclasses
import importlib.util
import json
import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_smooth.certify import CoverCertifier
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.records.anchor import Anchor
from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.runs import load_run
from lightning_smooth.report import write_report
from lightning_smooth.report.range_plots import Axis, gaps
from lightning_smooth.report.ranges import RANGE_STYLE, choose, load_covers
from lightning_smooth.transforms import Brightness, BrightnessContrast

SPEC = importlib.util.spec_from_file_location("pages", Path(__file__).with_name("test_report.py"))
PAGES = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(PAGES)
SETTINGS = {
    "method": "cover", "transform": "Rotation()", "box": {"angle": [-50.0, 50.0]},
    "identity": [0.0], "sigma": 0.5, "radii": [0.0, 0.5, 1.0], "reach": 1.2, "anchors": 8,
    "n0": 100, "n": 2000, "alpha": 0.001, "seed": 0,
}  # fmt: skip
UNITS = {"units": {"angle": "degrees"}}


def anchor(theta, p_lower, cost, *covers):
    return Anchor(
        theta=(theta,), looks=((64, 60), (128, 120)), p_lower=p_lower, cost=cost,
        covers=tuple(((low,), (high,)) for low, high in covers),
    )  # fmt: skip


HALVES = (anchor(-20.0, 0.9, 1.1, (-50.0, 5.0)), anchor(20.0, 0.95, 1.2, (5.0, 50.0)))
PART = (
    anchor(0.0, 0.9, 1.0, (-10.0, 10.0)),
    anchor(15.0, 0.8, 0.5, (10.0, 30.0), (34.0, 40.0)),
    anchor(-12.0, 0.45, 0.0),
)


def certificate(index, anchors, radius, predicted=3, units=UNITS, **changes):
    fields = {
        "index": index, "label": 3, "candidate": 3, "predicted": predicted, "radius": radius,
        "radius_unit": "box", "guarantee": "certified", "hits": 120 * len(anchors),
        "n": 128 * len(anchors), "n0": 100, "p_lower": 0.5, "alpha": 0.001,
        "ledger": {"anchors": 0.001}, "method": "cover", "parameters": {**SETTINGS, **units},
        "seed": 0, "seconds": 1.0, "image": "00ff", "anchors": anchors,
    }  # fmt: skip
    return Certificate(**(fields | changes))


def outcome(index, theta, predicted, classifier="smoothed", certifier=SETTINGS):
    return AttackOutcome(
        index=index, label=3, clean=3, theta={"angle": theta}, predicted=predicted, loss=1.0,
        tried=9, wrong=1, method="adaptive", seed=0, seconds=1.0, image="00ff",
        parameters={"classifier": classifier, "certifier": certifier},
    )  # fmt: skip


def make_run(folder, certificates, attacks=(), settings=SETTINGS, name="turned"):
    head = {
        "records": "lightning_smooth", "version": 1, "name": name, "certifier": settings,
        "selection": {"images": len(certificates)},
        "class_names": [f"class-{k}" for k in range(10)],
    }  # fmt: skip
    folder.mkdir()
    lines = [json.dumps(head), *(c.to_json() for c in certificates)]
    (folder / "records.jsonl").write_text("\n".join(lines) + "\n")
    if attacks:
        (folder / "attacks.jsonl").write_text("".join(o.to_json() + "\n" for o in attacks))
    return folder


def reported(folder, **options):
    files = write_report([folder], folder.parent / f"{folder.name}-out", **options)
    page = files.page.read_text()
    PAGES.check_page(page)
    return page, " ".join(files.notes[0])


def plots(page):
    return re.findall(r'<svg class="cover" viewBox.*?</svg>', page, flags=re.DOTALL)


def drawn(plot, kind, tag="rect"):
    """Attributes of the elements of a class, as numbers."""
    found = re.findall(rf'<{tag} class="{kind}" ([^>]*?)/?>', plot)
    return [{k: float(v) for k, v in re.findall(r'(\w+)="([-\d.]+)"', one)} for one in found]


def test_bars_are_what_anchors_cover(tmp_path):
    page, _ = reported(make_run(tmp_path / "a", [certificate(0, PART, 0.2)]))
    (plot,) = plots(page)
    bars, lines = drawn(plot, "spent"), re.findall(r'class="budget" d="M\S+ (\S+)H', plot)
    assert len(bars) == len(lines) == 3
    assert len(drawn(plot, "anchor", "circle")) == 2
    assert len(drawn(plot, "vain", "circle")) == 1
    degree = (
        drawn(plot, "anchor", "circle")[1]["cx"] - drawn(plot, "anchor", "circle")[0]["cx"]
    ) / 15
    assert [bar["width"] / degree for bar in bars] == pytest.approx([20, 20, 6], abs=0.4)
    # Heights are in one unit: costs of bars and budgets of dots, above the floor.
    floor = bars[0]["y"] + bars[0]["height"]
    deviation = (floor - float(lines[0])) / gaussian_radius(0.9, 1.0)
    assert [bar["height"] / deviation for bar in bars] == pytest.approx([1, 0.5, 0.5], abs=0.01)
    high = [(floor - float(line)) / deviation for line in lines]
    assert high == pytest.approx([gaussian_radius(p, 1.0) for p in (0.9, 0.8, 0.8)], abs=0.01)
    assert drawn(plot, "vain", "circle")[0]["cy"] == pytest.approx(floor, abs=0.01)
    assert "angle, degrees" in plot
    assert "3 anchors, 384 draws in all" in page


def test_what_is_not_covered_is_hatched_and_what_is_certified_is_marked(tmp_path):
    held = [certificate(0, HALVES, 1.0), certificate(20, PART, 0.2)]
    page, _ = reported(make_run(tmp_path / "a", held))
    whole, part = plots(page)
    assert drawn(whole, "open") == []
    zero = float(re.search(r'class="identity" d="M(\S+) ', part).group(1))
    degree = (
        drawn(part, "anchor", "circle")[1]["cx"] - drawn(part, "anchor", "circle")[0]["cx"]
    ) / 15
    ends = [
        ((box["x"] - zero) / degree, (box["x"] + box["width"] - zero) / degree)
        for box in drawn(part, "open")
    ]
    assert [round(end) for pair in ends for end in pair] == [-50, -10, 30, 34, 40, 50]
    (strip,) = drawn(part, "held")
    assert strip["width"] / degree == pytest.approx(20, abs=0.1)
    assert "image 0 (class-3), held over all of the range" in page
    assert "image 20 (class-3), certified within 0.200 times the range" in page


def test_beyond_what_was_asked_nothing_is_hatched(tmp_path):
    units = {**UNITS, "radii": [0.0, 0.2]}
    page, _ = reported(make_run(tmp_path / "a", [certificate(0, PART, 0.2, units=units)]))
    assert drawn(plots(page)[0], "open") == []
    assert "Only 0.2 times the range was asked for." in page


def test_attacks_are_marked_by_what_was_answered(tmp_path):
    attacks = [outcome(0, 45.0, 3), outcome(20, -30.0, 7), outcome(20, 33.0, -1)]
    attacks += [outcome(0, 1.0, 5, "base"), outcome(20, 2.0, 5, "base")]
    held = [certificate(0, HALVES, 1.0), certificate(20, PART, 0.2)]
    page, notes = reported(make_run(tmp_path / "a", held, attacks))
    whole, part = plots(page)
    assert [whole.count(f'class="{kind}"') for kind in ("kept", "silent", "broken")] == [1, 0, 0]
    assert [part.count(f'class="{kind}"') for kind in ("kept", "silent", "broken")] == [0, 1, 1]
    assert "<title>attack at angle \N{MINUS SIGN}30: answered 7</title>" in part
    assert "attack, another answer" in page
    assert notes == ""


def test_attacks_of_the_verb_have_a_header_and_are_marked_too(tmp_path):
    folder = make_run(tmp_path / "a", [certificate(0, HALVES, 1.0)])
    head = {"records": "lightning_smooth", "version": 1, "kind": "outcomes", "attack": {
        "method": "adaptive", "transform": "Rotation()", "box": {"angle": [-25.0, 25.0]},
        "classifier": "smoothed", "certifier": SETTINGS}}  # fmt: skip
    lines = [json.dumps(head), outcome(0, 20.0, 7).to_json(), '{"index":']
    (folder / "attack.jsonl").write_text("\n".join(lines))
    page, notes = reported(folder)
    assert plots(page)[0].count('class="broken"') == 1
    assert "contradicts the certificate of image 0" in notes
    assert "cannot be read" not in notes
    assert "contradicts the certificates of image 0:" in page
    assert "Rotation(), angle ±25" in page
    assert "r = 0.5" in page


def test_an_attack_that_leaves_a_wrong_answer_is_no_cross(tmp_path):
    wrong = certificate(0, HALVES, 1.0, label=5, candidate=3)
    attack = dataclasses.replace(outcome(0, 30.0, 3), label=5)
    page, notes = reported(make_run(tmp_path / "a", [wrong], [attack]))
    assert notes == ""
    assert [plots(page)[0].count(f'class="{kind}"') for kind in ("kept", "broken")] == [1, 0]


def test_an_attack_that_contradicts_a_certificate_is_said_and_shown_first(tmp_path):
    held = [certificate(20 * k, PART, 0.2 + 0.1 * k) for k in range(6)]
    page, notes = reported(make_run(tmp_path / "a", held, [outcome(40, 19.9, 7)]))
    assert "contradicts the certificate of image 40" in notes
    assert "7 was answered at angle 19.9" in notes
    assert "image 40 (class-3)" in page
    other = dataclasses.replace(outcome(40, 19.9, 7), image="ff00")
    _, notes = reported(make_run(tmp_path / "b", held, [other]))
    assert "contradicts" not in notes
    _, notes = reported(make_run(tmp_path / "c", held, [outcome(40, 20.1, 7)]))
    assert "contradicts" not in notes


def test_attacks_on_another_classifier_or_damaged_are_noted(tmp_path):
    strange = outcome(0, 1.0, 5, certifier={**SETTINGS, "sigma": 0.25})
    folder = make_run(tmp_path / "a", [certificate(0, HALVES, 1.0)], [strange])
    (folder / "attack-2.jsonl").write_text("{\n")
    page, notes = reported(folder)
    assert "attacks.jsonl has 1 attacks on the classifier of another certifier" in notes
    assert "attack-2.jsonl is not shown" in notes
    assert "attack, another answer" not in page


def test_the_choice_depends_on_certificates_alone():
    held = [certificate(k, HALVES[:1] * (k % 4 + 1), 1.0) for k in range(8)]
    part = [certificate(10 + k, PART, 0.1 * (k + 1)) for k in range(5)]
    none = [certificate(20, PART, 0.0, predicted=-1)]
    every = held + part + none
    assert [c.index for c in choose(every, 1.0)] == [3, 14, 10]
    assert [c.index for c in choose(every[::-1], 1.0)] == [3, 14, 10]
    assert [c.index for c in choose(every, 1.0, [12])] == [3, 12, 10]
    assert [c.index for c in choose(held + none, 1.0)] == [3, 0, 20]
    assert [c.index for c in choose(held, 1.0)] == [3, 1, 0]
    assert [c.index for c in choose(none, 1.0)] == [20]


def test_gaps():
    assert gaps([], 0.0, 1.0) == [(0.0, 1.0)]
    assert gaps([(0.0, 1.0)], 0.0, 1.0) == []
    assert gaps([(-5.0, -4.0), (0.5, 9.0)], 0.0, 1.0) == [(0.0, 0.5)]
    assert gaps([(2.0, 3.0)], 0.0, 1.0) == [(0.0, 1.0)]


def test_ticks_reach_both_ends_where_round_values_do():
    for end in (5.0, 20.0, 30.0, 50.0, 0.4):
        ticks = Axis("angle", "", -end, end, 0.0, 1.0).ticks()
        assert (ticks[0], ticks[-1]) == (-end, end)
        assert len(ticks) <= 9
    odd = Axis("angle", "", -7.3, 11.9, 0.0, 1.0).ticks()
    assert -7.3 <= odd[0] < odd[-1] <= 11.9


def test_pages_without_anchors_are_as_they_were(tmp_path):
    page = write_report([PAGES.make_run(tmp_path / "a")], tmp_path / "out").page.read_text()
    assert RANGE_STYLE not in page
    assert "cover" not in page
    assert load_covers(load_run(tmp_path / "a")) == (None, [])
    bare = [certificate(0, (), 0.0, predicted=-1)]
    assert load_covers(load_run(make_run(tmp_path / "b", bare))) == (None, [])
    assert "covers its range" not in reported(tmp_path / "b")[0]


def test_two_writes_give_the_same_bytes(tmp_path):
    held = [certificate(20 * k, PART, 0.2) for k in range(3)]
    folder = make_run(tmp_path / "a", held, [outcome(0, 10.0, 7)])
    pages = [write_report([folder], tmp_path / name).page.read_bytes() for name in ("x", "y")]
    assert pages[0] == pages[1]
    assert RANGE_STYLE.encode() in pages[0]


def test_words_are_those_of_ranges(tmp_path):
    page, _ = reported(make_run(tmp_path / "a", [certificate(0, HALVES, 1.0)]))
    assert "certified at radius 1: no Rotation() within the range (angle ±50) alters the" in page
    assert "certified accuracy at r = 1 times the range" in page
    assert "Certified accuracy at radius r (part of the range: angle ±50)" in page
    assert "noisy images classified" in page
    assert "times the box" not in page
    assert "equal steps of radius" not in page
    assert "0.5 (127.5/255)" in page


def test_a_surrogate_is_called_one(tmp_path):
    settings = {**SETTINGS, "method": "gsmooth", "surrogate": "00", "scales": {"angle": 10.0}}
    held = [certificate(0, HALVES, 1.0, guarantee="surrogate", method="gsmooth")]
    page, _ = reported(make_run(tmp_path / "a", held, settings=settings))
    assert "as the surrogate network has it, not as it really is" in page
    assert "nothing here is certified for the real one" in page
    assert "0.5 (in latents)" in page
    assert "127.5/255" not in page


def test_records_that_do_not_fit_are_noted(tmp_path):
    broken = {"identity": None}
    page, notes = reported(make_run(tmp_path / "a", [certificate(0, HALVES, 1.0, units=broken)]))
    assert "The anchors are not shown" in notes
    assert plots(page) == []
    far = dataclasses.replace(HALVES[0], theta=(1.0, 2.0))
    _, notes = reported(make_run(tmp_path / "b", [certificate(0, (far,), 1.0, units={})]))
    assert "does not name the parameters" in notes


def test_records_that_name_no_units_show_the_name_alone(tmp_path):
    page, _ = reported(make_run(tmp_path / "a", [certificate(0, HALVES, 1.0, units={})]))
    assert ">angle</text>" in plots(page)[0]


def test_names_are_escaped(tmp_path):
    units = {"box": {"<angle>": [-50.0, 50.0]}, "units": {"<angle>": "<deg>"}}
    page, _ = reported(make_run(tmp_path / "a", [certificate(0, HALVES, 1.0, units=units)]))
    assert "&lt;angle&gt;, &lt;deg&gt;" in plots(page)[0]


class Shade(nn.Module):
    """Class 1 where the mean is above a cut."""

    def forward(self, x):
        score = 10 * (x.mean(dim=(1, 2, 3)) - 0.3)
        return torch.stack([-score, score], dim=1)


@pytest.mark.parametrize("both", [False, True])
def test_what_a_certifier_writes_is_drawn(tmp_path, both):
    transform = BrightnessContrast() if both else Brightness()
    box = {"brightness": (-0.4, 0.4)} | ({"contrast": (-0.2, 0.2)} if both else {})
    certifier = CoverCertifier(transform, box, 0.25, n=2000, anchors=12)
    image = torch.rand(1, 6, 6, generator=torch.Generator().manual_seed(0))
    held = [certifier(Shade(), image, index=0, label=1)]
    assert 0 < held[0].radius < 1
    page, _ = reported(make_run(tmp_path / "a", held, settings=certifier.describe()))
    (plot,) = plots(page)
    covers = sum(len(one.covers) for one in held[0].anchors)
    assert plot.count('class="spent"') == covers
    assert len(re.findall(r'<circle class="(?:anchor|vain)"', plot)) == len(held[0].anchors)
    assert plot.count('class="open"') >= 1
    assert "brightness, value" in plot
    assert ("contrast, log gain" in plot) == both
    assert math.isfinite(sum(v for box in drawn(plot, "open") for v in box.values()))
