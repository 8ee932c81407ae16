"""Pictures that are kept for the report, and the contact sheet of a transformation."""

import importlib.machinery
import importlib.util
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lightning_smooth.transforms
from lightning_smooth.callbacks.pictures import TILES, contact_sheet, save_pictures, values_over
from lightning_smooth.certify import GaussianCertifier, PathCertifier
from lightning_smooth.certify.parameters import BaseSPTCertifier, ResolvableCertifier
from lightning_smooth.maths.laws import ExponentialLaw, GaussianLaw, UniformLaw
from lightning_smooth.models import SurrogateNetwork
from lightning_smooth.smoothing import NoiseKey
from lightning_smooth.transforms import (
    BrightnessContrast,
    Commuting,
    DefocusBlur,
    GaussianBlur,
    IntegerTranslation,
    Rotation,
    RotationalBlur,
    Scaling,
    Transform,
)

SCRIPT = Path(__file__).parents[2] / "scripts" / "contact_sheet"


def image(channels=1, side=12):
    generator = torch.Generator().manual_seed(3)
    return (torch.rand(channels, side, side, generator=generator) * 255).round() / 255


def bits(images):
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def rotating(scale=20.0):
    return BaseSPTCertifier(Rotation(), {"angle": GaussianLaw(scale)}, n0=10, n=100)


def blurring(law=None):
    return ResolvableCertifier(GaussianBlur(), {"variance": law or ExponentialLaw(4.0)}, n=100)


def along(sheet, name):
    return sheet["sheet_value"][sheet["sheet_parameter"] == name].tolist()


def tiles(sheet, name):
    return sheet["sheet"][sheet["sheet_parameter"] == name]


def test_tiles_are_the_image_at_each_value():
    x = image(3)
    sheet = contact_sheet(x, 7, rotating(), 12.0)
    values = along(sheet, "angle")
    assert values == pytest.approx(np.linspace(-12, 12, TILES))
    for value, tile in zip(values, sheet["sheet"], strict=True):
        again = Rotation()(x[None], Rotation().theta(angle=value))[0]
        np.testing.assert_array_equal(tile, bits(again))
    still = values.index(0.0)
    np.testing.assert_array_equal(sheet["sheet"][still], bits(x))
    assert sheet["sheet_identity"].tolist() == [k == still for k in range(TILES)]
    assert not (sheet["sheet"][0] == sheet["sheet"][still]).all()
    assert set(sheet["sheet_unit"]) == {"degrees"}
    assert (sheet["sheet_index"], sheet["sheet_transform"]) == (7, "Rotation()")


def test_one_sided_noise_is_shown_from_nothing_on():
    sheet = contact_sheet(image(), 0, blurring(), 3.0)
    assert along(sheet, "variance") == pytest.approx(np.linspace(0, 3, TILES))
    assert sheet["sheet_identity"].tolist() == [True] + [False] * (TILES - 1)


@pytest.mark.parametrize(
    ("certifier", "ends"),
    [
        (rotating(20.0), (-20.0, 20.0)),  # one standard deviation
        (blurring(ExponentialLaw(4.0)), (0.0, -4 * np.log(0.31731050786))),
        (
            BaseSPTCertifier(Rotation(), {"angle": UniformLaw(10.0)}),
            (-6.8268949214, 6.8268949214),
        ),
    ],
)
def test_where_nothing_is_certified_the_noise_gives_the_range(certifier, ends):
    sheet = contact_sheet(image(), 0, certifier, 0.0)
    assert (sheet["sheet_value"].min(), sheet["sheet_value"].max()) == pytest.approx(ends)
    assert "noise" in str(sheet["sheet_range"])


def test_a_box_gives_the_range_of_each_parameter_that_it_attacks():
    chain = Commuting([GaussianBlur(), BrightnessContrast()])
    laws = {"variance": ExponentialLaw(4.0)}
    laws |= {name: GaussianLaw(0.3) for name in ("brightness", "contrast")}
    box = {"variance": (0.0, 2.0), "brightness": (-0.4, 0.2)}
    x = image(3)
    sheet = contact_sheet(x, 0, ResolvableCertifier(chain, laws, box), 0.3)
    assert along(sheet, "variance") == pytest.approx(np.linspace(0, 2, TILES))
    brightness = along(sheet, "brightness")
    assert (brightness[0], brightness[-1], len(brightness)) == (-0.4, 0.2, TILES)
    assert 0.0 in brightness
    assert along(sheet, "contrast") == []
    # the others are at their identity, and what leaves [0, 1] is clipped for the eye
    np.testing.assert_array_equal(tiles(sheet, "brightness")[0], bits(x - 0.4))
    blurred = GaussianBlur()(x[None], GaussianBlur().theta(variance=2.0))[0]
    np.testing.assert_array_equal(tiles(sheet, "variance")[-1], bits(blurred))
    assert "box" in str(sheet["sheet_range"])


def test_whole_parameters_take_whole_values_within_the_radius():
    certifier = ResolvableCertifier(
        IntegerTranslation(), {"dx": GaussianLaw(3.0), "dy": GaussianLaw(3.0)}
    )
    x = image()
    sheet = contact_sheet(x, 0, certifier, 2.7)
    assert along(sheet, "dx") == along(sheet, "dy") == [-2, -1, 0, 1, 2]
    np.testing.assert_array_equal(tiles(sheet, "dx")[-1], bits(x.roll(2, dims=-1)))
    np.testing.assert_array_equal(tiles(sheet, "dy")[0], bits(x.roll(-2, dims=-2)))
    assert contact_sheet(x, 0, certifier, 0.9) == {}  # no shift by whole pixels but none


def test_noise_on_pixels_has_no_sheet():
    assert contact_sheet(image(), 0, GaussianCertifier(0.5), 1.0) == {}


@pytest.mark.parametrize(
    "kind", [Rotation, Scaling, GaussianBlur, DefocusBlur, BrightnessContrast, IntegerTranslation]
)
@pytest.mark.parametrize(("low", "high"), [(-9.5, 9.5), (0, 7), (-7, 0), (-0.01, 8), (-8, 0.02)])
def test_values_are_allowed_in_order_and_hold_the_identity(kind, low, high):
    for parameter in kind().parameters:
        for count in (3, 5, TILES):
            values = values_over(parameter, low, high, count)
            assert values == sorted(set(values))
            assert len(values) <= count
            assert parameter.identity in values
            assert all(parameter.allows(value) for value in values)
            if not parameter.whole:
                assert values[0] == min(max(low, parameter.low), parameter.identity)
                assert values[-1] == max(min(high, parameter.high), parameter.identity)
                assert len(values) in (1, count)


class Sums(nn.Module):
    def forward(self, images):
        left = images[..., :6].sum((1, 2, 3))
        return torch.stack([left, images.sum((1, 2, 3)) - left], dim=1)


@pytest.mark.parametrize("certifier", [rotating(), GaussianCertifier(0.25, n0=10, n=100)])
def test_the_file_holds_the_sheet_of_the_first_image_that_was_chosen(tmp_path, certifier):
    images = {k: image(side=12).roll(k, dims=-1) for k in (3, 5, 8)}
    found = [certifier(Sums(), x, index=k, label=0) for k, x in images.items()]
    path = tmp_path / "samples.npz"
    save_pictures(path, found, lambda k: (images[k], 0), certifier, 3)
    with np.load(path, allow_pickle=False) as held:
        assert sorted(held["index"]) == [3, 5, 8]
        for k, clean in zip(held["index"], held["clean"], strict=True):
            np.testing.assert_array_equal(clean, bits(images[int(k)]))
        if isinstance(certifier, GaussianCertifier):
            assert set(held.files) == {"index", "clean", "noisy"}
            return
        assert held["sheet_index"] == held["index"][0]
        still = held["sheet_identity"]
        np.testing.assert_array_equal(held["sheet"][still][0], held["clean"][0])
        largest = max(c.radius for c in found)
        assert largest > 0
        assert held["sheet_value"][[0, -1]].tolist() == [-largest, largest]


def test_inside_a_surrogate_the_picture_is_the_image_that_it_makes(tmp_path):
    torch.manual_seed(0)
    surrogate = SurrogateNetwork(RotationalBlur(), {"angle": (0.0, 10.0)}, (1, 12, 12)).eval()
    torch.nn.init.normal_(surrogate.decoder.synthesis.weight, std=0.1)
    certifier = PathCertifier(surrogate, {"angle": 3.0}, 0.1, n=200, anchors=1)
    found = [certifier(Sums(), image(side=12), index=4, label=0)]
    path = tmp_path / "samples.npz"
    save_pictures(path, found, lambda _: (image(side=12), 0), certifier, 1)
    key = NoiseKey(0, 4, "picture")
    drawn = certifier.law.block(key, 0, (1, 13, 12), torch.device("cpu"))[:1]
    with torch.no_grad():
        shown = surrogate.decode(surrogate.encode(image(side=12)[None]) + drawn)[0]
    with np.load(path, allow_pickle=False) as held:
        assert held["noisy"].shape == held["clean"].shape == (1, 1, 12, 12)
        np.testing.assert_array_equal(held["noisy"][0], bits(shown))


def script_in(monkeypatch):
    loader = importlib.machinery.SourceFileLoader("contact_sheet", str(SCRIPT))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up
    monkeypatch.setitem(sys.modules, loader.name, module)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(module)
    return module


def test_the_script_finds_every_transformation_and_moves_every_parameter(monkeypatch):
    module = script_in(monkeypatch)
    kinds = {
        each
        for each in vars(lightning_smooth.transforms).values()
        if inspect.isclass(each) and issubclass(each, Transform) and not inspect.isabstract(each)
    }
    held = module.found()
    assert {type(transform) for transform in held} == kinds
    probe = image(3, side=32)[None]
    for transform in held:
        for row in module.rows(transform, 5, probe):
            shown = row.shows(module.Subject(probe, "probe"))
            assert len(row.words) == len(row.theta) == len(shown) == 5
            assert float((shown[0] - shown[-2]).abs().max()) > 0.01, row
