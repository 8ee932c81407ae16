"""Transformations from a YAML to records, a report and an audit; what was changed is found."""

import json
import shutil

import pytest
import yaml

from lightning_smooth.__main__ import main
from lightning_smooth.errors import InputError
from lightning_smooth.records.audit import audit
from lightning_smooth.records.reading import read_records
from lightning_smooth.report import write_report
from lightning_smooth.report.tables import short
from tests.cli.conftest import QUICK

T, M, C = "lightning_smooth.transforms", "lightning_smooth.maths.laws", "lightning_smooth.certify"


def law(kind, **settings):
    return {"class_path": f"{M}.{kind}", "init_args": settings}


def transform(kind, **settings):
    return {"class_path": f"{T}.{kind}", "init_args": settings}


CHAIN = transform(
    "Commuting",
    transforms=[
        transform("GaussianBlur", ends="cyclic"),
        transform("IntegerTranslation"),
        transform("BrightnessContrast"),
    ],
)
LAWS = {
    "contrast": law("GaussianLaw", scale=0.1),
    "brightness": law("GaussianLaw", scale=0.1),
    "variance": law("ExponentialLaw", mean=0.2),
    "dx": law("GaussianLaw", scale=0.3),
}
BOX = {"variance": [0, 0.05], "brightness": [-0.03, 0.05], "contrast": [-0.05, 0.05]}
CERTIFIERS = {
    "box": ("ResolvableCertifier", {"transform": CHAIN, "laws": LAWS, "box": BOX, "n": 300}),
    "ball": (
        "ResolvableCertifier",
        {
            "transform": transform("IntegerTranslation"),
            "laws": {"dx": law("GaussianLaw", scale=0.5), "dy": law("GaussianLaw", scale=0.5)},
            "n": 200,
        },
    ),
    "sequential": (
        "SequentialResolvableCertifier",
        {"transform": CHAIN, "laws": LAWS, "box": BOX, "radii": [0, 0.5, 1], "n": 1000},
    ),
    "estimate": (
        "BaseSPTCertifier",
        {
            "transform": transform("Rotation"),
            "laws": {"angle": law("GaussianLaw", scale=10.0)},
            "n": 200,
        },
    ),
    "sequential estimate": (
        "SequentialBaseSPTCertifier",
        {
            "transform": transform("Rotation"),
            "laws": {"angle": law("GaussianLaw", scale=10.0)},
            "radii": [2.0, 5.0],
            "n": 500,
        },
    ),
}


def overlay(folder, kind, settings):
    """A YAML that says what to certify, over configs/digits.yaml."""
    certifier = {"class_path": f"{C}.{kind}", "init_args": {"n0": 20, **settings}}
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump({"certification": {"certifier": certifier}}))
    quick = [option for option in QUICK if "certifier" not in option]
    return [*quick, f"--config={path}"]


@pytest.fixture(autouse=True)
def _at_the_top(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    monkeypatch.delenv("LIGHTNING_SMOOTH_FOLDER", raising=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, request):
    """Folders of certified runs, by name; the first was trained and reported as well."""
    root = tmp_path_factory.mktemp("parameters")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(request.config.rootpath)
        patch.delenv("LIGHTNING_SMOOTH_FOLDER", raising=False)
        for name, (kind, settings) in CERTIFIERS.items():
            folder = root / name
            options = [*overlay(root, kind, settings), f"--output.folder={folder}"]
            verb = ["run", "--trainer.max_epochs=4"]
            if name != "box":
                verb = ["certify", f"--ckpt_path={root / 'box' / 'checkpoints' / 'best.ckpt'}"]
            assert main([*verb, *options, "--data.limit=8", f"--output.experiment={name}"]) == 0
    return root


@pytest.mark.parametrize("name", CERTIFIERS)
def test_what_was_certified_passes(name, runs):
    found = audit(runs / name)
    assert found.faults == ()
    checked = {check for check, tally in found.tallies.items() if tally.passed}
    assert checked >= {"method", "bound", "verdict", "radius", "guarantee", "settings", "candidate"}
    content = read_records(runs / name / "records.jsonl")
    estimated = "estimate" in name
    assert {c.guarantee for c in content.certificates} == {
        "estimated" if estimated else "certified"
    }
    assert sum(c.radius > 0 for c in content.certificates) >= 3


def test_settings_of_the_yaml_are_those_of_the_header(runs):
    header = read_records(runs / "box" / "records.jsonl").header["certifier"]
    assert header["laws"]["variance"] == {"kind": "exponential", "mean": 0.2}
    assert set(header["laws"]) == set(LAWS)
    assert header["target"]["box"] == BOX
    assert header["target"]["coupled"] == ["brightness", "contrast"]
    assert header["transform"] == (
        "Commuting([GaussianBlur(ends='cyclic'), IntegerTranslation(padding='cyclic'), "
        "BrightnessContrast()])"
    )


def changed(runs, name, change, tmp_path, *, header=None):
    """The run, with one certificate of a radius above 0 changed; the index of that one."""
    shutil.copytree(runs / name, tmp_path / "run")
    path = tmp_path / "run" / "records.jsonl"
    head, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    victim = max(lines, key=lambda fields: fields["radius"])
    change(victim)
    if header:
        header(head["certifier"])
    path.write_text("".join(json.dumps(line) + "\n" for line in (head, *lines)))
    return audit(tmp_path / "run"), victim["index"]


def put(*path, value):
    """Sets what lies at a path of fields; `value` may be a function of what was there."""

    def change(fields):
        *way, last = path
        for step in way:
            fields = fields[step]
        fields[last] = value(fields[last]) if callable(value) else value

    return change


CHANGES = {
    "radius of a parameter": (
        ["box", "ball", "sequential"],
        put("radii", "dx", value=lambda r: r * (1 + 1e-9)),
    ),
    "radii left out": (["box"], lambda fields: fields.pop("radii")),
    "radius": (["box", "ball", "estimate"], put("radius", value=lambda r: r * (1 + 1e-9))),
    "hits": (["box", "ball", "sequential"], put("hits", value=lambda hits: hits - 1)),
    "wider law": (["ball"], put("parameters", "laws", "dx", "scale", value=5.0)),
    "both laws wider": (
        ["ball"],
        lambda fields: [
            put("parameters", "laws", name, "scale", value=5.0)(fields) for name in ("dx", "dy")
        ],
    ),
    "other law": (
        ["box", "sequential"],
        put("parameters", "laws", "variance", value={"kind": "one-sided uniform", "width": 9.0}),
    ),
    "no laws": (["box", "ball"], put("parameters", "laws", value={})),
    "laws that are none": (["ball", "estimate"], put("parameters", "laws", value={"dx": 3})),
    "smaller box": (
        ["box", "sequential"],
        put("parameters", "target", "box", "variance", value=[0, 0.01]),
    ),
    "not coupled": (["box"], lambda fields: fields["parameters"]["target"].pop("coupled")),
    "no target": (["box", "ball"], put("parameters", "target", value=None)),
    "a ball of a box": (["box"], put("parameters", "target", value={"unit": "box"})),
    "unit": (["ball", "estimate"], put("radius_unit", value="l2")),
    "guarantee": (["estimate", "sequential estimate"], put("guarantee", value="certified")),
    "method": (
        ["estimate", "sequential estimate"],
        put("method", value=lambda m: m.replace("base spt", "resolvable")),
    ),
    "transform": (["box", "estimate"], put("parameters", "transform", value="GaussianBlur()")),
    "decision": (["sequential"], put("decisions", value={"0.0": "held", "9.0": "held"})),
    "looks": (["sequential"], put("looks", value=lambda looks: [[n, n] for n, _ in looks])),
    "looks of a fixed number": (["ball"], put("looks", value=[[64, 64], [200, 200]])),
}


@pytest.mark.parametrize(
    ("name", "what"), [(name, what) for what, (names, _) in CHANGES.items() for name in names]
)
def test_what_was_changed_is_found(name, what, runs, tmp_path):
    found, index = changed(runs, name, CHANGES[what][1], tmp_path)
    assert found.faults
    assert {fault.index for fault in found.faults} == {index}


@pytest.mark.parametrize(
    ("what", "name", "kind"),
    [
        ("radius", "ball", "unsound"),
        ("guarantee", "estimate", "unsound"),
        ("unit", "ball", "unsound"),
    ],
)
def test_what_claims_more_is_unsound(what, name, kind, runs, tmp_path):
    found, _ = changed(runs, name, CHANGES[what][1], tmp_path)
    assert kind in {fault.kind for fault in found.faults}


def test_a_law_changed_everywhere_is_found_by_the_radii(runs, tmp_path):
    def narrow(settings):
        for name in ("dx", "dy"):
            settings["laws"][name]["scale"] = 0.25

    found, index = changed(
        runs, "ball", lambda fields: narrow(fields["parameters"]), tmp_path, header=narrow
    )
    # Of the others the parameters are not the header's; of this one the radii are too large.
    mine = {fault.check for fault in found.faults if fault.index == index}
    assert mine == {"radius", "radii"}
    assert {fault.check for fault in found.faults if fault.index != index} == {"settings"}


def test_the_report_says_what_a_radius_rules_out(runs, tmp_path, capsys):
    page = (runs / "box" / "report" / "index.html").read_text()
    words = "times the box (variance 0 to 0.05, brightness -0.03 to 0.05, contrast ±0.05)"
    assert words in page
    assert "guarantee: estimated" not in page
    for name, said, axis in [
        (
            "ball",
            "of (dx, dy) of ℓ₂ norm below {} whole pixels",
            "ℓ₂ norm of (dx, dy), whole pixels",
        ),
        ("estimate", "no Rotation() of an angle below {} degrees", "angle, degrees"),
    ]:
        files = write_report([runs / name], tmp_path / name)
        radii = files.figures[0].radii
        assert said.format(short(radii[len(radii) // 2])) in files.page.read_text()
        assert f"Certified accuracy at each radius r ({axis})" in files.table_md.read_text()
        assert ("guarantee: estimated" in files.page.read_text()) == (name == "estimate")
        assert main(["report", str(runs / name), "--out", str(tmp_path / "again")]) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert f"Certified accuracy at radius r ({axis})" in printed


def test_runs_of_different_attacks_are_not_reported_as_one(runs, tmp_path):
    with pytest.raises(InputError, match="measure the same"):
        write_report([runs / "ball", runs / "estimate"], tmp_path)
    # An axis of the same words is not enough.
    shutil.copytree(runs / "ball", tmp_path / "zero")
    path = tmp_path / "zero" / "records.jsonl"
    path.write_text(path.read_text().replace("padding='cyclic'", "padding='zero'"))
    with pytest.raises(InputError, match=r"measure the same.*padding='cyclic'.*padding='zero'"):
        write_report([runs / "ball", tmp_path / "zero"], tmp_path / "out")


BLUR = {
    "transform": transform("GaussianBlur"),
    "laws": {"variance": law("ExponentialLaw", mean=1.0)},
}


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (
            "ResolvableCertifier",
            {**BLUR, "laws": {"sigma": law("ExponentialLaw", mean=1.0)}},
            "Expected `laws` of one or more of variance, the parameters of GaussianBlur",
        ),
        ("ResolvableCertifier", {"transform": BLUR["transform"]}, "laws"),
        ("ResolvableCertifier", {"laws": BLUR["laws"]}, "transform"),
        ("ResolvableCertifier", {**BLUR, "laws": {}}, "but got none"),
        ("ResolvableCertifier", {**BLUR, "box": {"variance": [0, 1, 2]}}, "box"),
        ("ResolvableCertifier", {**BLUR, "box": {"variance": 1}}, "box"),
        ("ResolvableCertifier", {**BLUR, "box": {"sigma": [0, 1]}}, "parameters with noise"),
        ("ResolvableCertifier", {**BLUR, "box": {"variance": [-1, 1]}}, "at least 0 under expon"),
        (
            "ResolvableCertifier",
            {**BLUR, "laws": {"variance": law("GaussianLaw", scale=1.0)}},
            "Noise that is never below 0: ExponentialLaw",
        ),
        (
            "ResolvableCertifier",
            {**BLUR, "laws": {"variance": law("ExponentialLaw", mean=-1.0)}},
            "Expected `mean` to be a finite number above 0",
        ),
        (
            "ResolvableCertifier",
            {**BLUR, "laws": {"variance": law("CauchyLaw", scale=1.0)}},
            "CauchyLaw",
        ),
        (
            "ResolvableCertifier",
            {"transform": transform("Rotation"), "laws": {"angle": law("GaussianLaw", scale=9.0)}},
            "BaseSPTCertifier gives an estimate",
        ),
        (
            "SequentialResolvableCertifier",
            {**BLUR, "radii": [0, 99.0], "n": 1000},
            "Expected `radii` to be one or more radii from 0 to",
        ),
        (
            "ResolvableCertifier",
            {
                "transform": transform(
                    "Commuting",
                    transforms=[transform("GaussianBlur"), transform("IntegerTranslation")],
                ),
                "laws": {"dx": law("GaussianLaw", scale=1.0)},
            },
            "Expected transformations that commute",
        ),
    ],
)
def test_mistakes_in_a_yaml_are_answered_with_a_sentence(kind, settings, words, tmp_path, capfd):
    options = [*overlay(tmp_path, kind, settings), f"--output.folder={tmp_path / 'out'}"]
    try:
        status = main(["certify", *options])
    except SystemExit as stop:
        status = stop.code
    said = capfd.readouterr().err
    assert status == 2
    assert "Traceback" not in said
    assert words in " ".join(said.split())
