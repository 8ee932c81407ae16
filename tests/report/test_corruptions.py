"""Corruptions in the report: tables, heat maps, several runs, and what must be said."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from lightning_smooth.report import main, write_report
from lightning_smooth.report.corruption_plots import DARK, LIGHT
from tests.records.attacked import certificate, records_file
from tests.records.corrupted import written

SPEC = importlib.util.spec_from_file_location("pages", Path(__file__).with_name("test_report.py"))
PAGES = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(PAGES)


def reported(out, *paths):
    files = write_report(paths, out)
    page = files.page.read_text()
    PAGES.check_page(page)
    return files, page


def test_a_folder_with_nothing_else_is_reported(tmp_path, capsys):
    folder = written(tmp_path / "run", certified=(9, 8, 3), name="augmix")
    files, page = reported(tmp_path / "out", folder)
    assert "On corrupted images: augmix" in page
    assert "CIFAR-10-C, published" in page
    assert "100 images of each, 10 certified" in page
    for text in (">.900<", ">.800<", ">.400<", ">base classifier<", ">certified at r = 0.25<"):
        assert text in page
    assert ">.850<" in page  # mean of noise over severities
    assert page.count('class="plot"') == 1
    rows = pd.read_csv(files.corruptions_csv)
    assert rows["accuracy"].tolist() == [0.9, 0.8, 0.7, 0.4]
    assert rows["certified_accuracy@0.25"].tolist() == [0.8] * 4
    assert files.corruptions_md.read_text() == files.table_md.read_text()
    assert "| augmix | CIFAR-10-C, published; 100 images" in files.table_md.read_text()
    assert files.curve_svg is None
    assert main([str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "On corrupted images" in shown
    assert "0.7000" in shown


def test_text_can_be_read_on_every_colour(tmp_path):
    counts = {"fog": (0, 30), "snow": (60, 99)}
    _, page = reported(tmp_path / "out", written(tmp_path / "run", counts))
    for text, colour in ((".000", LIGHT), (".300", LIGHT), (".990", DARK)):
        cell = re.search(rf'style="([^"]*)"[^>]*>{re.escape(text)}</text>', page)
        assert colour in cell[1], text


def test_runs_are_shown_side_by_side(tmp_path):
    one = written(tmp_path / "one", name="plain", certified=(9, 8, 3))
    baseline = {"name": "plain", "file": "x", "model": {}, "errors": {"gaussian_noise": 0.3,
                "fog": 0.9}}  # fmt: skip
    other = {"gaussian_noise": (97, 88), "fog": (85, 70)}
    two = written(tmp_path / "two", other, name="augmix", baseline=baseline)
    files, page = reported(tmp_path / "out", one, two)
    assert page.count('class="plot"') == 2
    assert "relative to the baseline" in page
    assert ">0.5000<" in page  # (.15 / .3 + .45 / .9) / 2
    assert "By corruption" in page
    assert re.search(r"<th scope=row>fog</th><td>0.5500</td><td>0.7750</td>", page)
    assert "different images" not in page
    assert len(pd.read_csv(files.corruptions_csv)) == 8


def test_other_images_and_missing_cells_are_said(tmp_path):
    one = written(tmp_path / "one", name="one", left=1)
    two = written(tmp_path / "two", name="two", left_out={"frost": "no photographs"},
                  selection={"skip": 2, "limit": None, "images": 100})  # fmt: skip
    _, page = reported(tmp_path / "out", one, two)
    assert "one, corruptions.json is incomplete.</b> Holds 3 of 4 cells" in page
    assert "These evaluations are of different images" in page
    assert "frost is left out: no photographs" in page


def test_beside_certificates_of_the_clean_images(tmp_path):
    folder = written(tmp_path / "run", name="<augmix>", origin="made by lightning-smooth, seed 3")
    records_file(folder / "records.jsonl", [certificate(0), certificate(1, 0.25)])
    files, page = reported(tmp_path / "out", folder)
    assert "Certified accuracy against radius" in page
    assert "made by lightning-smooth, seed 3" in page
    assert "&lt;augmix&gt;" in page
    assert "<augmix>" not in page
    assert files.table_md.read_text() != files.corruptions_md.read_text()


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium here")
def test_a_browser_draws_the_page(tmp_path):
    files, _ = reported(tmp_path / "out", written(tmp_path / "run", certified=(9, 8, 3)))
    shot = tmp_path / "page.png"
    browser = (
        *(str(shutil.which("chromium")), "--headless=new", "--no-sandbox", "--disable-gpu"),
        *("--hide-scrollbars", f"--user-data-dir={tmp_path / 'profile'}"),
    )
    subprocess.run(
        [*browser, f"--screenshot={shot}", "--window-size=1280,900", files.page.as_uri()],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert shot.stat().st_size > 10_000
