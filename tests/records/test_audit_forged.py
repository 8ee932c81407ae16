"""Records that claim more than their method gives, in the header and the line alike."""

import json

import pytest
import torch
from torch import nn

from lightning_smooth.certify import (
    BaseSPTCertifier,
    DistSPTxCertifier,
    GaussianCertifier,
    LipschitzCertifier,
    ResolvableCertifier,
)
from lightning_smooth.maths.laws import GaussianLaw
from lightning_smooth.maths.targets import target_from
from lightning_smooth.records.audit import audit
from lightning_smooth.transforms import (
    BrightnessContrast,
    IntegerTranslation,
    LevelBrightness,
    Occlusion,
    Rotation,
    Translation,
)
from lightning_smooth.verify import EnumerationCertifier

IMAGE = torch.full((1, 6, 6), 0.6)
HEADER = {
    "records": "lightning_smooth",
    "version": 1,
    "name": "forged",
    "model": {"architecture": "a", "weights": "b"},
    "data": {"name": "x", "images": 1, "digest": "d"},
    "class_names": ["a", "b"],
    "environment": {},
}


class Mean(nn.Module):
    def forward(self, images):
        mean = images.flatten(1).mean(1)
        return torch.stack([mean * 4, 1.6 + 0 * mean], 1)


class Constant(nn.Module):
    def forward(self, images):
        mean = images.flatten(1).mean(1) * 0
        return torch.stack([mean + 1, mean], 1)


def lines(certifier, model=None, image=IMAGE, **more):
    made = certifier(model or Mean(), image, index=0, label=0, **more)
    settings = json.loads(json.dumps(certifier.describe()))
    return HEADER | {"certifier": settings}, json.loads(made.to_json())


def faults(path, header, *rows):
    header = header | {"selection": {"skip": 1, "limit": None, "images": len(rows)}}
    file = path / "records.jsonl"
    file.write_text("\n".join(json.dumps(part) for part in (header, *rows)) + "\n")
    return audit(file).faults


def check(path, certifier, forge, words, **more):
    """What was made passes, what was forged does not, and the message says why."""
    header, row = lines(certifier, **more)
    assert faults(path, header, row) == ()
    forge(header["certifier"], row)
    found = faults(path, header, row)
    assert found
    assert words in " ".join(str(fault) for fault in found)


def test_a_rotation_is_not_certified_by_another_name(tmp_path):
    def renamed(settings, row):
        row["method"] = settings["method"] = "resolvable"
        row["guarantee"] = "certified"

    certifier = BaseSPTCertifier(Rotation(), {"angle": GaussianLaw(30.0)}, n=1000)
    check(tmp_path, certifier, renamed, "known to compose")


@pytest.mark.parametrize("padding", ["reflected", "zero"])
def test_shifts_compose_with_cyclic_padding_alone(padding, tmp_path):
    def padded(settings, row):
        named = f"IntegerTranslation(padding='{padding}')"
        row["parameters"]["transform"] = settings["transform"] = named

    laws = {"dx": GaussianLaw(1.0), "dy": GaussianLaw(1.0)}
    check(tmp_path, ResolvableCertifier(IntegerTranslation("cyclic"), laws), padded, "compose")


def test_brightness_and_contrast_act_on_each_other(tmp_path):
    def uncoupled(settings, row):
        for target in (settings["target"], row["parameters"]["target"]):
            del target["coupled"]
        target = target_from(row["parameters"]["laws"], row["parameters"]["target"])
        row["radius"] = target.radius(row["p_lower"])
        row["radii"] = target.radii(row["p_lower"])

    laws = {"brightness": GaussianLaw(0.4), "contrast": GaussianLaw(0.4)}
    box = {"brightness": (-0.1, 0.1), "contrast": (-0.5, 0.5)}
    check(tmp_path, ResolvableCertifier(BrightnessContrast(), laws, box), uncoupled, "act on each")


def test_settings_are_not_chosen_for_each_image(tmp_path):
    rows = [
        GaussianCertifier(sigma, n=1000, alpha=alpha, seed=seed)(Mean(), IMAGE, index=k, label=0)
        for k, (sigma, alpha, seed) in enumerate([(0.25, 0.001, 0), (0.5, 0.001, 0), (1.0, 0.3, 5)])
    ]
    header = HEADER | {"certifier": {"method": "gaussian"}}
    found = faults(tmp_path, header, *(json.loads(row.to_json()) for row in rows))
    said = " ".join(str(fault) for fault in found)
    for name in ("sigma", "alpha", "seed"):
        assert f"{name} in the header's settings" in said


@pytest.mark.parametrize(
    ("transform", "largest", "count"),
    [
        (IntegerTranslation("cyclic"), 2.0, 13),
        (IntegerTranslation("zero"), 2.0, 13),
        (LevelBrightness(), 4.5, 9),
        (Occlusion(value=0.0), 2.0, 1 + 36 + 25),
    ],
)
def test_all_images_are_listed(transform, largest, count, tmp_path):
    def fewer(settings, row):
        del settings
        row["measured"] = {"listed": count - 1, "agreed": count - 1}

    certifier = EnumerationCertifier(transform, largest)
    check(tmp_path, certifier, fewer, f"there are {count} at least", model=Constant())


def test_a_radius_beyond_what_was_listed_is_found(tmp_path):
    def larger(settings, row):
        row["parameters"]["largest"] = settings["largest"] = row["radius"] = 100.0

    certifier = EnumerationCertifier(IntegerTranslation("cyclic"), 2.0)
    check(tmp_path, certifier, larger, "are listed of", model=Constant())


@pytest.mark.parametrize("where", ["precision", "dtype"])
def test_coarse_scores_are_not_exact(where, tmp_path):
    def exact(settings, row):
        row["parameters"]["rounding"] = settings["rounding"] = 0.0
        value = {"precision": "bf16", "dtype": "bfloat16"}[where]
        row["parameters"][where] = value
        if where in settings:
            settings[where] = value

    check(tmp_path, LipschitzCertifier(1.0, 0.0), exact, "lose in bfloat16")


@pytest.mark.parametrize("name", ["passes", "distance"])
def test_inner_tests_that_cannot_have_passed(name, tmp_path):
    def impossible(settings, row):
        if name == "passes":
            row["measured"]["passes"] = row["hits"]
        for part in (settings, row["parameters"]) if name == "distance" else ():
            part["inner"], part["level"] = 1, 1e-9

    certifier = DistSPTxCertifier(Translation(), 4.0, 0.5, [0.0, 1.0], n0=4, n=64, inner=256)
    words = {"passes": "they take", "distance": "No count of 1 draws"}[name]
    image = torch.full((1, 8, 8), 0.01)
    check(tmp_path, certifier, impossible, words, model=Constant(), image=image)


def test_a_tie_is_not_broken_by_the_draws_that_bound(tmp_path):
    def later(settings, row):
        del settings
        row["votes0"] = {"0": 50, "1": 50}
        row["candidate"] = row["predicted"] = 1
        row["votes"] = {"1": row["hits"], "0": 1000 - row["hits"]}

    check(tmp_path, GaussianCertifier(0.5, n=1000), later, "by the votes of n0 draws")


def test_a_class_that_no_draws_chose(tmp_path):
    def unchosen(settings, row):
        row["n0"] = settings["n0"] = 0
        row["votes0"] = {}

    check(tmp_path, GaussianCertifier(0.5, n=1000), unchosen, "draws that chose the class")
