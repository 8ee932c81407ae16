"""Attacks in the report: their table, and what contradicts certificates."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest

from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.maths.confidence import clopper_pearson_interval
from lightning_smooth.report import main, write_report
from tests.records.attacked import (
    GRID,
    MODEL,
    SMOOTHED,
    attack_file,
    certificate,
    outcome,
    records_file,
    turned,
)

SPEC = importlib.util.spec_from_file_location("pages", Path(__file__).with_name("test_report.py"))
PAGES = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(PAGES)
EOT = {"gradient": "EOT", "draws": 30, "of": {"gradient": "BPDA", "rules": {}}}
GOOD = [outcome(0), outcome(1, 7, distance=0.3), outcome(2), outcome(3, -1)]
HELD = [certificate(0), certificate(1, 0.25), certificate(2), certificate(3, 0.25)]


def attacked(folder, rows=GOOD, held=HELD, parts=SMOOTHED, name="attack.jsonl", **head):
    if held:
        records_file(folder / "records.jsonl", held, **head)
    attack_file(folder / name, rows, parts, **head)
    return folder


def reported(folder):
    files = write_report([folder], folder.parent / f"{folder.name}-out")
    page = files.page.read_text()
    PAGES.check_page(page)
    return files, page


def test_the_table_holds_every_attack_of_a_folder(tmp_path):
    attacked(tmp_path / "a")
    bare = [outcome(i, parts=MODEL | EOT, evaluations=20, queries=7) for i in range(3)]
    attacked(tmp_path / "a", bare, (), MODEL | EOT, "attack-b.jsonl")
    attacked(tmp_path / "a", [turned(0, 20.0, 7)], (), GRID, "attack-c.jsonl")
    files, page = reported(tmp_path / "a")
    rows = pd.read_csv(files.attacks_csv)
    assert rows["records"].tolist() == ["attack.jsonl", "attack-b.jsonl", "attack-c.jsonl"]
    first = rows.iloc[0]
    assert (first["images"], first["accuracy"], first["attacked_accuracy"]) == (4, 1.0, 0.5)
    low, high = clopper_pearson_interval(2, 4, 0.95)
    assert (first["attacked_low"], first["attacked_high"]) == (float(low), float(high))
    assert first["accuracy_low"] == float(clopper_pearson_interval(4, 4, 0.95)[0])
    assert (first["broken"], first["abstention"], first["median_distance"]) == (0.25, 0.25, 0.3)
    assert (first["certified_radius"], first["certified_accuracy"]) == (0.5, 0.5)
    assert (first["norm"], first["bound"], first["queries_per_image"]) == ("l2", 0.5, 40)
    assert rows["within"].tolist() == ["ℓ₂ ≤ 0.5", "ℓ₂ ≤ 0.5", "Rotation(), angle ±20"]
    assert rows["gradient"].tolist()[:2] == ["plain", "EOT of 30 draws, BPDA"]
    judges = ["smoothed, PREDICT with 1,000 draws", "model, 20 evaluations"]
    assert rows["judge"].tolist()[:2] == judges
    assert rows["not_compared"].tolist()[2] == "certified in ℓ₂ norm"
    assert rows["queries_per_image"].isna().tolist() == [False, False, True]
    table = files.attacks_md.read_text()
    for words in (*judges, "EOT of 30 draws, BPDA", "0.5000 (r = 0.5)", "(certified in ℓ₂ norm)"):
        assert words in table
        assert words.split(" (")[0].removeprefix("(").removesuffix(")") in page
    assert f"({low:.4f}, {high:.4f})" in table
    assert page.count("<table") == 3
    assert "no contradiction" in page
    assert 'class="bug"' not in page
    assert "table.csv" in page
    assert files.curve_svg.exists()


def test_a_contradiction_is_a_red_warning_a_bug_and_status_1(tmp_path, capsys):
    rows = [outcome(0, 7), *GOOD[1:]]
    folder = attacked(tmp_path / "a", rows)
    _, page = reported(folder)
    (box,) = re.findall(r'<div class="bug" role="alert">(.*?)</div>', page)
    assert "contradicts the certificates of image 0:" in box
    assert "Accuracy under attack is 0.2500 on images of which 0.5000" in box
    assert ".bug{" in page
    assert main([str(folder)]) == 1
    shown = capsys.readouterr().out
    assert re.search(r"^BUG: mnist, PGD, ℓ₂ ≤ 0.5 \(attack.jsonl\) contradicts", shown, re.M)
    assert "image 0:" in shown
    # Broken within its radius, though that is below the bound: accuracy alone would not show it.
    within = [GOOD[0], outcome(1, 7, distance=0.2), *GOOD[2:]]
    assert main([str(attacked(tmp_path / "b", within))]) == 1
    shown = capsys.readouterr().out
    assert "certificates of image 1:" in shown
    assert "Accuracy under attack is" not in shown


def test_what_is_no_contradiction_has_status_0(tmp_path, capsys):
    assert main([str(attacked(tmp_path / "a"))]) == 0
    assert "BUG" not in capsys.readouterr().out
    bare = [outcome(i, 7, parts=MODEL) for i in range(4)]
    folder = attacked(tmp_path / "b", bare, parts=MODEL)
    assert main([str(folder)]) == 0
    assert "BUG" not in capsys.readouterr().out
    page = (folder / "report" / "index.html").read_text()
    assert "A certificate is of a smoothed classifier" in page


def test_abstentions_that_leave_less_than_is_certified_are_said(tmp_path, capsys):
    rows = [outcome(0, -1), *GOOD[1:3], GOOD[3]]
    folder = attacked(tmp_path / "a", rows)
    assert main([str(folder)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "below certified accuracy by abstentions alone" in shown
    assert "abstained on image 0, and gave no other class" in shown
    page = (folder / "report" / "index.html").read_text()
    assert "abstentions alone" in re.findall(r'<div class="warning".*?</div>', page)[0]
    # Where more is answered rightly than is certified, it is a note below the table.
    held = [certificate(0), certificate(1, 0.25), certificate(2, 0.25)]
    folder = attacked(tmp_path / "b", [outcome(0, -1), outcome(1), outcome(2)], held)
    assert main([str(folder)]) == 0
    assert "abstained" not in capsys.readouterr().out
    page = (folder / "report" / "index.html").read_text()
    assert "abstained on image 0" in page
    assert "abstentions alone" not in page
    assert 'class="warning"' not in page


def test_a_folder_of_attacks_alone(tmp_path, capsys):
    folder = attacked(tmp_path / "a", held=())
    files, page = reported(folder)
    assert "<title>Under attack: mnist</title>" in page
    assert "<svg" not in page
    assert (files.curve_svg, files.curve_png, files.figures) == (None, None, ())
    assert files.table_csv.read_text() == files.attacks_csv.read_text()
    assert files.table_md.read_text() == files.attacks_md.read_text()
    assert sorted(p.name for p in files.folder.iterdir()) == [
        "attacks.csv", "attacks.md", "index.html", "table.csv", "table.md"
    ]  # fmt: skip
    assert "there are no certificates" in page
    assert "attack.judge" in page
    assert "SHA-256 of attack.jsonl" in page
    assert main([str(folder / "attack.jsonl"), "--out", str(tmp_path / "out")]) == 0
    assert "Accuracy under attack" in capsys.readouterr().out
    with pytest.raises(InputError, match="attacks alone"):
        main([str(folder), "--export", "tsv"])
    with pytest.raises(RecordError, match="at least one attacked image"):
        write_report([attacked(tmp_path / "b", [], ())], tmp_path / "out")
    with pytest.raises(InputError, match="given twice"):
        write_report([folder, folder], tmp_path / "out")


def test_attacks_alone_beside_a_certified_run(tmp_path):
    runs = [attacked(tmp_path / "a", held=()), attacked(tmp_path / "b")]
    files = write_report(runs, tmp_path / "out")
    assert [f.name for f in files.attacks] == ["mnist (a)", "mnist"]
    assert [f.beside.certified for f in files.attacks] == [None, 0.5]
    assert len(files.figures) == 1
    PAGES.check_page(files.page.read_text())


def test_common_images_alone_are_compared(tmp_path):
    runs = [attacked(tmp_path / "a"), tmp_path / "b"]
    records_file(tmp_path / "b" / "records.jsonl", HELD[:2])
    files = write_report(runs, tmp_path / "out", common=True)
    (f,) = files.attacks
    assert (f.images, f.beside.images, f.beside.certified) == (4, 2, 0.5)
    assert "r = 0.5, 2 of them" in files.page.read_text()


def test_an_attack_that_goes_on_is_shown_as_far_as_it_is(tmp_path):
    folder = tmp_path / "a"
    records_file(folder / "records.jsonl", HELD)
    parts = folder / "attack.parts" / "rank0.jsonl"
    attack_file(parts, GOOD[:2], torn='{"ind', selection={"images": 4})
    _, page = reported(folder)
    assert "2 of 4" in page
    assert "mnist, attack.jsonl is incomplete" in page
    assert "rank0.jsonl is torn" in page
    attack_file(parts, [], selection={"images": 4})
    _, page = reported(folder)
    assert "0 of 4" in page


def test_names_and_settings_are_escaped(tmp_path):
    parts = SMOOTHED | {"method": "<b>|x", "gradient": "<i>"}
    rows = [outcome(0, 7, parts=parts)]
    files, page = reported(attacked(tmp_path / "a", rows, parts=parts, name="a.jsonl"))
    assert "<p><b>Bug.</b> mnist, &lt;b&gt;|x" in page
    assert "<b>|x" not in page
    assert "<i>" not in page
    assert "&lt;b&gt;\\|x" in files.attacks_md.read_text()


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium here")
def test_a_browser_shows_the_warning_and_scrolls_the_table_alone(tmp_path):
    folder = attacked(tmp_path / "a", [outcome(0, 7), *GOOD[1:]], name="attack-long-name.jsonl")
    files, page = reported(folder)
    browser = [
        *(str(shutil.which("chromium")), "--headless=new", "--no-sandbox", "--disable-gpu"),
        *("--disable-background-networking", "--no-first-run", "--disable-component-update"),
        *("--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"),
    ]
    shot = tmp_path / "shot.png"
    subprocess.run(
        [*browser, f"--screenshot={shot}", "--window-size=1280,900", files.page.as_uri()],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    pixels = (mpl.image.imread(shot)[..., :3] * 255).round().astype(int)
    assert (abs(pixels - [0xB3, 0x26, 0x1E]).max(axis=2) <= 2).sum() > 1280
    probe = tmp_path / "probe.html"
    told = "<script>document.title=document.documentElement.scrollWidth</script></body>"
    probe.write_text(page.replace("</body>", told))
    dom = subprocess.run(
        [*browser, "--dump-dom", "--window-size=500,900", probe.as_uri()],
        capture_output=True, timeout=120, check=True, text=True,
    ).stdout  # fmt: skip
    assert int(re.search(r"<title>(\d+)</title>", dom).group(1)) <= 500
