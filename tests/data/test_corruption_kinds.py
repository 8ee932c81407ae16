"""Corruptions against closed forms, by hand, and by simulation; keyed by the image alone."""

from __future__ import annotations

import colorsys
import io
import math

import numpy as np
import pytest
from PIL import Image

from lightning_smooth.data.corruption_blurs import (
    blur_along,
    centre_zoom,
    disk_kernel,
    elastic_transform,
    zoom_blur,
    zoom_window,
)
from lightning_smooth.data.corruption_draws import Draws, bilinear, folded, to_bytes, to_floats
from lightning_smooth.data.corruption_kinds import CORRUPTIONS, SEVERITIES, corrupt
from lightning_smooth.data.corruption_weather import Photographs, find_photographs, frost, plasma
from lightning_smooth.data.fakes import make_images
from lightning_smooth.errors import DataError, InputError

PHOTOGRAPHS = Photographs(
    tuple(np.random.default_rng(5).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)), "x"
)
IMAGES = np.ascontiguousarray(
    make_images(12, (3, 32, 32), classes=10, seed=3)[0].transpose(0, 2, 3, 1)
)


def made(name, severity, images=IMAGES, indices=None, seed=0):
    indices = range(len(images)) if indices is None else indices
    return corrupt(images, name, severity, indices=indices, seed=seed, photographs=PHOTOGRAPHS)


def parameter(name, severity):
    return CORRUPTIONS[name].parameters[severity - 1]


def constant(level, count=6):
    return np.full((count, 32, 32, 3), level, dtype=np.uint8)


def draws(count, name="test"):
    return Draws(0, range(count), name, 1)


def test_the_eighteen_have_five_severities_each():
    assert len(CORRUPTIONS) == 18
    assert all(len(kind.parameters) == 5 for kind in CORRUPTIONS.values())
    assert parameter("gaussian_noise", 5) == (0.10,)
    assert parameter("elastic_transform", 2) == (0.05, 0.2, 0.07)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_does_not_depend_on_its_batch(name):
    whole = made(name, 4)
    assert whole.shape == IMAGES.shape
    assert whole.dtype == np.uint8
    assert np.array_equal(made(name, 4), whole)
    order = [7, 2, 11]
    assert np.array_equal(made(name, 4, IMAGES[order], order), whole[order])
    assert np.array_equal(made(name, 4, IMAGES[5:6], [5]), whole[5:6])
    assert not np.array_equal(whole, IMAGES)


RANDOM = [
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur"),
    *("motion_blur", "snow", "frost", "fog", "elastic_transform"),
]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_draws_differ_among_images_and_seeds_where_there_are_draws(name):
    twice = made(name, 3, IMAGES[[1, 1]], [4, 5])
    other = made(name, 3, IMAGES[[1, 1]], [4, 5], seed=1)
    assert np.array_equal(twice[0], twice[1]) == (name not in RANDOM)
    assert np.array_equal(twice, other) == (name not in RANDOM)


# The parameters of the others trade one effect against another.
ORDERED = sorted(set(CORRUPTIONS) - {"saturate", "elastic_transform", "glass_blur"})


@pytest.mark.parametrize("name", ORDERED)
def test_more_severe_is_further_from_the_image(name):
    far = [np.abs(made(name, s).astype(float) - IMAGES).mean() for s in (1, 5)]
    assert far[0] < far[1]


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"saturate"}))
def test_grey_images_work_and_saturation_refuses_them(name):
    grey = IMAGES[..., :1]
    assert made(name, 5, grey).shape == grey.shape
    with pytest.raises(InputError, match="in colour for saturate"):
        made("saturate", 5, grey)


def test_bytes_go_to_floats_and_back():
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_bytes(to_floats(levels)), levels)
    assert to_bytes(np.array([-0.1, 0.999, 1.5])).tolist() == [0, 254, 255]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_has_its_mean_and_standard_deviation(severity):
    # Cutting to whole levels takes half a level off the mean and adds 1/12 to the variance.
    for name, std in (
        ("gaussian_noise", 255 * parameter("gaussian_noise", severity)[0]),
        ("speckle_noise", 100 * parameter("speckle_noise", severity)[0]),
        ("shot_noise", math.sqrt(100 * 255 / parameter("shot_noise", severity)[0])),
    ):
        seen = made(name, severity, constant(100)).astype(float)
        n = seen.size
        assert seen.mean() == pytest.approx(99.5, abs=5 * std / math.sqrt(n) + 0.1), name
        assert seen.std() == pytest.approx(math.sqrt(std**2 + 1 / 12), rel=0.03), name


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulses_are_as_many_as_asked_for_black_and_white_alike(severity):
    share = parameter("impulse_noise", severity)[0]
    seen = made("impulse_noise", severity, constant(100, 20))
    error = 5 * math.sqrt(share / seen.size)
    assert (seen == 0).mean() == pytest.approx(share / 2, abs=error)
    assert (seen == 255).mean() == pytest.approx(share / 2, abs=error)
    assert set(np.unique(seen)) == {0, 100, 255}


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_and_saturation_are_those_of_colorsys(severity):
    pixels = IMAGES[0].reshape(-1, 3)[::7].copy()
    pixels[:3] = [[0, 0, 0], [90, 90, 90], [255, 255, 255]]
    image = np.tile(pixels[:16].reshape(1, 4, 4, 3), (1, 1, 1, 1))
    (shift,), (gain, more) = parameter("brightness", severity), parameter("saturate", severity)
    lighter, coloured = (made(k, severity, image)[0] for k in ("brightness", "saturate"))
    for pixel, light, colour in zip(
        image[0].reshape(-1, 3), lighter.reshape(-1, 3), coloured.reshape(-1, 3), strict=True
    ):
        h, s, v = colorsys.rgb_to_hsv(*(pixel / 255))
        expected = np.array(colorsys.hsv_to_rgb(h, s, min(1, v + shift)))
        assert np.abs(light - (expected * 255 - 0.5)).max() < 0.51
        expected = np.array(colorsys.hsv_to_rgb(h, min(1, s * gain + more), v))
        assert np.abs(colour - (expected * 255 - 0.5)).max() < 0.51


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_is_about_the_means_of_the_channels(severity):
    (factor,) = parameter("contrast", severity)
    means = IMAGES.mean(axis=(1, 2), keepdims=True)
    expected = np.clip((IMAGES - means) * factor + means, 0, 255)
    assert np.abs(made("contrast", severity) - (expected - 0.5)).max() < 0.51


def test_pixelate_by_hand():
    # int(4 * .65) = 2: each of 2 x 2 large pixels is the mean of 2 x 2.
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1) * 10
    expected = np.array([[25, 45], [105, 125]]).repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(made("pixelate", 5, image)[0, ..., 0], expected)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_jpeg_and_pixelate_are_pillows(severity):
    image = Image.fromarray(IMAGES[2])
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=[80, 65, 58, 50, 40][severity - 1])
    assert np.array_equal(made("jpeg_compression", severity)[2], np.asarray(Image.open(buffer)))
    side = [30, 28, 27, 24, 20][severity - 1]
    small = image.resize((side, side), Image.Resampling.BOX)
    large = np.asarray(small.resize((32, 32), Image.Resampling.BOX))
    assert np.array_equal(made("pixelate", severity)[2], large)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_disk_has_mass_1_and_blurs_by_its_weights(severity):
    kernel = disk_kernel(*parameter("defocus_blur", severity))
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    assert np.array_equal(kernel, kernel.T)
    assert np.array_equal(kernel, kernel[::-1, ::-1])
    dot = np.zeros((1, 15, 15, 3), dtype=np.uint8)
    dot[0, 7, 7] = 255
    seen = made("defocus_blur", severity, dot)[0, ..., 1]
    reach = len(kernel) // 2
    around = seen[7 - reach : 8 + reach, 7 - reach : 8 + reach]
    assert np.abs(around - (255 * kernel - 0.5)).max() < 0.51
    assert seen.sum() == around.sum()


def test_the_disk_counts_pixels():
    disk = disk_kernel(2.0, 1e-3)
    assert (disk > 0.01).sum() == 13
    assert disk[len(disk) // 2].max() == pytest.approx(1 / 13)


def test_the_gaussian_blur_of_a_dot_is_the_kernel():
    dot = np.zeros((1, 21, 21, 3), dtype=np.uint8)
    dot[0, 10, 10] = 255
    weights = np.exp(-0.5 * np.arange(-4, 5) ** 2.0)
    weights /= weights.sum()
    expected = 255 * np.outer(weights, weights)
    assert np.abs(made("gaussian_blur", 5, dot)[0, 6:15, 6:15, 0] - (expected - 0.5)).max() < 0.51


@pytest.mark.parametrize(
    ("angle", "step"), [(0, (0, -1)), (45, (-1, -1)), (-45, (1, -1)), (-90, (1, 0)), (-135, (1, 1))]
)
def test_motion_goes_one_way_along_its_angle(angle, step):
    dot = np.zeros((1, 31, 31, 1), dtype=np.float32)
    dot[0, 15, 15] = 1
    seen = blur_along(dot, np.array([angle]), 6, 2.0)[0, ..., 0]
    weights = np.exp(-0.5 * (np.arange(13) / 2) ** 2)
    weights /= weights.sum()
    # On a diagonal a step of 1 is rounded, so several steps share a pixel.
    scale = abs(math.cos(math.radians(angle))) if abs(angle) % 90 else 1
    line = np.zeros(13)
    for k, weight in enumerate(weights):
        line[math.ceil(k * scale - 0.5)] += weight
    found = [seen[15 + k * step[0], 15 + k * step[1]] for k in range(13)]
    assert np.abs(np.array(found) - line).max() < 1e-5
    assert seen.sum() == pytest.approx(1, abs=1e-5)


def test_zoom_keeps_a_constant_and_stretches_a_ramp():
    ramp = np.linspace(0, 1, 32, dtype=np.float32)[None, :, None, None] * np.ones((1, 32, 32, 1))
    seen = centre_zoom(ramp.astype(np.float32), 2.0)[0, :, 0, 0]
    assert zoom_window(32, 2.0) == (8, 16, 32, 0)
    assert np.allclose(seen, np.linspace(8 / 31, 23 / 31, 32), atol=1e-6)
    assert np.array_equal(made("zoom_blur", 5, constant(77)), constant(77))


def test_zoom_blur_is_the_mean_of_the_image_and_of_its_zooms():
    images = to_floats(IMAGES)
    zooms = [centre_zoom(images, 1 + k / 100) for k in range(16)]
    expected = (images + sum(zooms)) / 17
    assert np.abs(zoom_blur(images, draws(12), 1.15) - expected).max() < 1e-5


def test_glass_moves_pixels_and_invents_none():
    # At sigma .05 the blur is nothing: what is left are swaps.
    seen = made("glass_blur", 1)
    for before, after in zip(IMAGES, seen, strict=True):
        pixels = [sorted(map(tuple, image.reshape(-1, 3).tolist())) for image in (before, after)]
        assert pixels[0] == pixels[1]
        assert np.array_equal(before[0], after[0]), "only rows 1.. are swapped"
        assert (before != after).any(axis=-1).mean() > 0.5


def test_elastic_by_hand():
    images = to_floats(IMAGES)
    assert np.abs(elastic_transform(images, draws(12), 0, 0, 0.0) - images).max() < 1e-5
    moved = elastic_transform(images, draws(12), 0, 0, 0.05)
    shift = draws(12).each(lambda g: g.uniform(-1, 1, (3, 2))) * 0.05 * 32
    corners = np.array([[26, 26], [26, 6], [6, 6]])  # (x, y), about the pixel (16, 16)
    # The three corners are seen where they were sent.
    for image, now, by in zip(images, moved, shift, strict=True):
        a, *rest = corners + by
        basis = np.stack([rest[0] - a, rest[1] - a], axis=1)
        old = np.stack([corners[1] - corners[0], corners[2] - corners[0]], axis=1)
        x, y = corners[0] + old @ np.linalg.solve(basis, np.array([16, 12]) - a)
        row, column = math.floor(y), math.floor(x)
        v, u = y - row, x - column
        patch = image[row : row + 2, column : column + 2]
        expected = np.einsum("i,j,ijc", [1 - v, v], [1 - u, u], patch)
        assert np.abs(now[12, 16] - expected).max() < 1e-4


def test_bilinear_between_pixels_and_beyond_the_border():
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    rows, columns = np.full((1, 4, 4), 1.25), np.full((1, 4, 4), 2.5)
    assert np.allclose(bilinear(image, rows, columns, border="mirror"), 4 * 1.25 + 2.5)
    assert np.allclose(bilinear(image, rows, columns * 0 - 1, border="mirror"), 5 + 1)
    assert np.allclose(bilinear(image, rows, columns * 0 - 1, border="reflect"), 5 + 0)
    assert folded(np.array([-9, 12]), 4, "edge").tolist() == [0, 3]


def test_clouds_are_scaled_and_smoother_with_more_decay():
    uniform = np.random.default_rng(0).uniform(-1, 1, (20, 32, 32))
    rough, smooth = plasma(uniform, 1.2), plasma(uniform, 3.0)
    for cloud in (rough, smooth):
        assert np.array_equal(cloud.min(axis=(1, 2)), np.zeros(20))
        assert np.array_equal(cloud.max(axis=(1, 2)), np.ones(20))
    steps = [np.abs(np.diff(cloud, axis=1)).mean() for cloud in (rough, smooth)]
    assert steps[0] > 2 * steps[1]


def test_a_cloud_of_two_pixels_a_side_by_hand():
    u = np.array([[[9.0, 0.4], [-0.3, 0.2]]])  # the corner gets no noise
    # Centre: mean of the corner four times, + .2. Edges: half corner, half centre, + noise.
    cloud = np.array([[0, 0.1 + 0.4], [0.1 - 0.3, 0.2]])
    assert np.allclose(plasma(u, 2.0)[0], (cloud + 0.2) / 0.7)


def test_fog_keeps_the_brightest_value_in_range():
    (strength, _) = parameter("fog", 5)
    seen = made("fog", 5, constant(200)).astype(float)
    top = (200 / 255 + strength) * 200 / (200 + 255 * strength) * 255
    low = 200 * 200 / (200 + 255 * strength)
    assert seen.max() == math.floor(top + 1e-3) == 200
    assert seen.min() == math.floor(low)


def test_snow_whitens_and_falls_as_its_own_half_turn():
    black = made("snow", 3, constant(0)).astype(int)
    assert np.abs(black - black[:, ::-1, ::-1]).max() <= 1
    assert black.min() == math.floor((1 - 0.9) * 0.5 * 255)
    assert (black[..., 0] == black[..., 2]).all()


def test_frost_adds_a_cut_of_a_photograph():
    seen = made("frost", 5)
    for image, frosted in zip(IMAGES, seen, strict=True):
        rest = frosted + 0.5 - 0.75 * image
        inside = (frosted > 0) & (frosted < 255)
        assert any(
            (
                np.abs(rest - 0.45 * photograph[top : top + 32, left : left + 32])[inside] < 0.51
            ).all()
            for photograph in PHOTOGRAPHS.images
            for top in range(9)
            for left in range(19)
        )


def test_photographs_are_a_fifth_and_must_be_there(tmp_path):
    with pytest.raises(InputError, match="holds none"):
        find_photographs(tmp_path)
    large = np.random.default_rng(0).integers(0, 256, (100, 60, 3), dtype=np.uint8)
    Image.fromarray(large).save(tmp_path / "b.png")
    found = find_photographs(tmp_path)
    assert found is not None
    assert np.array_equal(found.images[0], large[2::5, 2::5])
    with pytest.raises(InputError, match="at least 160 x 160 pixels, but got about 100 x 60"):
        frost(to_floats(IMAGES), draws(12), 1, 0.2, photographs=found)
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match="cannot be read as an image"):
        find_photographs(tmp_path)


@pytest.mark.parametrize("severity", [0, 6, True, 2.5, "3"])
def test_a_severity_is_1_to_5(severity):
    with pytest.raises(InputError, match="`severity` to be 1, 2, 3, 4 or 5"):
        made("fog", severity)


def test_mistakes_are_named():
    with pytest.raises(InputError, match="got 'gausian_noise'; did you mean gaussian_noise"):
        made("gausian_noise", 1)
    with pytest.raises(InputError, match="`photographs` of frost, but got none"):
        corrupt(IMAGES, "frost", 1, indices=range(12))
    with pytest.raises(InputError, match=r"uint8 .* but got float32"):
        made("fog", 1, to_floats(IMAGES))
    with pytest.raises(InputError, match=r"got uint8 \(12, 3, 32, 32\)"):
        made("fog", 1, IMAGES.transpose(0, 3, 1, 2))
    with pytest.raises(InputError, match="`indices` to be 12 whole numbers"):
        made("fog", 1, indices=[1, 2])
    with pytest.raises(InputError, match="the least -1"):
        made("fog", 1, IMAGES[:1], [-1])
    with pytest.raises(InputError, match="`seed`"):
        made("fog", 1, seed=-1)
    assert made("fog", 1, IMAGES[:0]).shape == (0, 32, 32, 3)
