"""The contact sheet in the report of a run that transforms images."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.laws import GaussianLaw
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.runs import load_run
from lightning_smooth.report import write_report
from lightning_smooth.report.pictures import load_pictures, source
from lightning_smooth.report.sheet import load_sheet, number

SPEC = importlib.util.spec_from_file_location("pages", Path(__file__).with_name("test_report.py"))
PAGES = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(PAGES)
N, ALPHA, LAW = 1000, 0.001, GaussianLaw(20.0)
SETTINGS = {
    "method": "base spt", "transform": "Rotation()", "laws": {"angle": LAW.describe()},
    "target": {"unit": "degrees"}, "n0": 100, "n": N, "alpha": ALPHA, "seed": 0,
}  # fmt: skip
VALUES = (-30.0, -15.0, 0.0, 15.0, 30.0)


def certificate(index, hits):
    bound = clopper_pearson_lower(hits, N, ALPHA)
    return Certificate(
        index=index, label=3, candidate=3, predicted=3 if bound > 0.5 else -1,
        radius=LAW.radius(bound), radius_unit="degrees", guarantee="estimated", hits=hits, n=N,
        n0=100, p_lower=bound, alpha=ALPHA, ledger={"test": ALPHA}, method="base spt",
        parameters=SETTINGS, seed=0, seconds=0.5,
    )  # fmt: skip


def sheet_arrays(side=8, channels=1):
    rng = np.random.default_rng(1)
    return {
        "sheet": rng.integers(0, 255, (5, channels, side, side)).astype(np.uint8),
        "sheet_parameter": np.array(["angle"] * 5),
        "sheet_unit": np.array(["degrees"] * 5),
        "sheet_value": np.array(VALUES),
        "sheet_identity": np.array(VALUES) == 0,
        "sheet_index": np.array(20),
        "sheet_transform": np.array("Rotation()"),
        "sheet_range": np.array("up to <30>"),
    }


def make_run(folder, sheet):
    held = [certificate(20 * k, hits) for k, hits in enumerate((990, 900, 700, 400))]
    head = {
        "records": "lightning_smooth", "version": 1, "name": "turned", "certifier": SETTINGS,
        "selection": {"skip": 20, "limit": None, "images": 4},
        "class_names": [f"class-{k}" for k in range(10)],
    }  # fmt: skip
    folder.mkdir()
    lines = [json.dumps(head), *(c.to_json() for c in held)]
    (folder / "records.jsonl").write_text("\n".join(lines) + "\n")
    clean = np.random.default_rng(0).integers(0, 255, (4, 1, 8, 8)).astype(np.uint8)
    np.savez(folder / "samples.npz", index=np.arange(4) * 20, clean=clean, noisy=clean, **sheet)
    return folder


def test_every_tile_is_there_with_its_value_and_unit(tmp_path):
    arrays = sheet_arrays()
    folder = make_run(tmp_path / "a", arrays)
    sheet, notes = load_sheet(load_run(folder))
    assert notes == []
    assert (sheet.index, sheet.label, sheet.width) == (20, "class-3", 8)
    (strip,) = sheet.strips
    assert [tile.value for tile in strip.tiles] == [number(value) for value in VALUES]
    assert [tile.identity for tile in strip.tiles] == [False, False, True, False, False]
    assert [tile.source for tile in strip.tiles] == [source(tile) for tile in arrays["sheet"]]
    page = write_report([folder], tmp_path / "out").page.read_text()
    checker = PAGES.check_page(page)
    assert checker.seen.count("img") == 8 + 5
    for value in VALUES:
        assert f"<b>{number(value)}</b> degrees" in page
    assert page.count("degrees<br>identity") == 1
    assert f'alt="image 20, angle {number(-15.0)} degrees"' in page
    assert "Image 20 (class-3) under <code>Rotation()</code>, up to &lt;30&gt;." in page


def test_strips_are_told_apart_by_their_parameter(tmp_path):
    arrays = sheet_arrays()
    arrays["sheet_parameter"] = np.array(["dx", "dx", "dy", "dy", "dy"])
    sheet, _ = load_sheet(load_run(make_run(tmp_path / "a", arrays)))
    assert [(s.parameter, len(s.tiles)) for s in sheet.strips] == [("dx", 2), ("dy", 3)]
    page = write_report([tmp_path / "a"], tmp_path / "out").page.read_text()
    assert "Each parameter alone" in page


def test_words_are_those_of_transformations(tmp_path):
    folder = make_run(tmp_path / "a", {})
    page = write_report([folder], tmp_path / "out", radii=(0, 10, 20)).page.read_text()
    assert "Images, clean and transformed" in page
    assert "image 20 transformed" in page
    assert "noisy" not in page
    assert "certified accuracy at r = 10 degrees" in page
    assert "no Rotation() of an angle below 10 degrees alters" in page
    radius = LAW.radius(clopper_pearson_lower(900, N, ALPHA))
    assert f"certified within {int(radius * 1000) / 1000:.3f} degrees (estimated)" in page


def test_files_from_before_there_were_sheets_load(tmp_path):
    folder = make_run(tmp_path / "a", {})
    run = load_run(folder)
    assert load_sheet(run) == (None, [])
    assert len(load_pictures(run)[0]) == 4
    assert "end to end" not in write_report([folder], tmp_path / "out").page.read_text()


def test_noise_on_pixels_has_no_sheet(tmp_path):
    folder = PAGES.make_run(tmp_path / "a")
    with np.load(folder / "samples.npz") as held:
        np.savez(folder / "samples.npz", **held, **sheet_arrays())
    assert load_sheet(load_run(folder)) == (None, [])
    page = write_report([folder], tmp_path / "out").page.read_text()
    assert "end to end" not in page
    assert "clean and under noise" in page


@pytest.mark.parametrize(
    "fault",
    [
        {"sheet": np.zeros((5, 2, 8, 8), dtype=np.uint8)},
        {"sheet": np.zeros((5, 1, 8, 8))},
        {"sheet_value": np.zeros(4)},
        {"sheet_value": np.array(["many"] * 5)},
        {"sheet_unit": np.array([{}] * 5)},
        {"sheet_index": np.zeros(2)},
        {"sheet_range": None},
    ],
)
def test_sheets_that_cannot_be_shown_are_noted_and_pictures_stay(tmp_path, fault):
    arrays = {key: value for key, value in (sheet_arrays() | fault).items() if value is not None}
    files = write_report([make_run(tmp_path / "a", arrays)], tmp_path / "out")
    assert "samples.npz holds no contact sheet that can be read" in " ".join(files.notes[0])
    assert PAGES.check_page(files.page.read_text()).seen.count("img") == 8


def test_large_tiles_are_reduced_to_what_is_shown(tmp_path):
    arrays = sheet_arrays(side=224, channels=3)
    arrays["sheet"][:] = np.arange(5, dtype=np.uint8)[:, None, None, None] * 50
    sheet, _ = load_sheet(load_run(make_run(tmp_path / "a", arrays)))
    small = np.ones((3, 112, 112), dtype=np.uint8)
    for k, tile in enumerate(sheet.strips[0].tiles):
        assert tile.source == source(small * np.uint8(50 * k))


def test_numbers_have_three_digits():
    assert [number(v) for v in (0.0, 12.3456, -1 / 3, 30.0)] == [
        "0", "12.3", "\N{MINUS SIGN}0.333", "30",
    ]  # fmt: skip
