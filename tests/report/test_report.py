import csv
import html.parser
import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from lightning_smooth.errors import InputError, RecordError
from lightning_smooth.maths.certified import (
    average_certified_radius,
    certified_accuracy,
    certified_accuracy_band,
)
from lightning_smooth.maths.confidence import clopper_pearson_lower
from lightning_smooth.maths.radius import gaussian_radius
from lightning_smooth.records.certificate import Certificate
from lightning_smooth.records.runs import load_run
from lightning_smooth.report import main, write_report
from lightning_smooth.report.command import terminal_table
from lightning_smooth.report.curves import steps
from lightning_smooth.report.pictures import load_pictures
from lightning_smooth.report.tables import check_radii, default_radii, duration

LOGS = Path(__file__).resolve().parents[3] / "shared" / "data" / "certification-logs"
needs_logs = pytest.mark.skipif(not LOGS.is_dir(), reason=f"no published logs at {LOGS}")
needs_chromium = pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium here")
SIGMA, N, ALPHA = 0.5, 1000, 0.001
VOID = {"meta", "img", "br", "wbr", "input", "link", "hr"}


def certificate(index, hits, label):
    bound = clopper_pearson_lower(hits, N, ALPHA)
    return Certificate(
        index=index, label=label, candidate=3, predicted=3 if bound > 0.5 else -1,
        radius=gaussian_radius(bound, SIGMA), radius_unit="l2", guarantee="certified", hits=hits,
        n=N, n0=100, p_lower=bound, alpha=ALPHA, ledger={"test": ALPHA}, method="gaussian",
        parameters={"sigma": SIGMA}, seed=0, seconds=0.5,
    )  # fmt: skip


def make_run(folder, name="mnist", images=40, requested=40, seed=0, channels=1):
    rng = np.random.default_rng(seed)
    draws = rng.binomial(N, rng.beta(5, 0.6, images))
    draws[7::9] = 400
    held = [certificate(20 * i, int(h), 3 if i % 6 else 5) for i, h in enumerate(draws)]
    settings = {"method": "gaussian", "sigma": SIGMA, "n0": 100, "n": N, "alpha": ALPHA, "seed": 0}
    head = {
        "records": "lightning_smooth",
        "version": 1,
        "name": name,
        "model": {"architecture": "small", "weights": "0123abcd"},
        "certifier": settings,
        "data": {"name": "mnist", "split": "test", "digest": "4567ef"},
        "selection": {"skip": 20, "limit": None, "images": requested},
        "class_names": [f"class-{k}" for k in range(10)],
        "environment": {"torch": "2.11.0"},
    }
    folder.mkdir(parents=True)
    lines = [json.dumps(head), *(c.to_json() for c in held)]
    (folder / "records.jsonl").write_text("\n".join(lines) + "\n")
    clean = rng.integers(0, 255, (images, channels, 8, 8)).astype(np.uint8)
    np.savez(
        folder / "samples.npz",
        index=np.array([c.index for c in held]),
        clean=clean,
        noisy=clean[::-1].copy(),
    )
    return folder


class Checker(html.parser.HTMLParser):
    """Every element is closed in order; what the page refers to is kept."""

    def __init__(self):
        super().__init__()
        self.open, self.references, self.ids, self.seen = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.ids += [v for k, v in attributes if k == "id"]
        self.references += [v for k, v in attributes if k in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_page(text):
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert all(ref.startswith(("#", "data:image/png;base64,")) for ref in checker.references)
    assert len(checker.ids) == len(set(checker.ids))
    inner = [ref[1:] for ref in checker.references if ref.startswith("#")]
    inner += re.findall(r"url\(#([^)]+)\)", text)
    assert set(inner) <= set(checker.ids)
    assert not re.search(r"https?:|@import|<link|<script", text)
    return checker


def test_the_page_stands_alone(tmp_path):
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", name="second", seed=1)]
    files = write_report(runs, tmp_path / "out")
    text = files.page.read_text()
    checker = check_page(text)
    assert checker.seen.count("svg") == 2
    assert checker.seen.count("img") == 48
    for words in ("pointwise 95 %", "n = 1,000 draws allow at most 1.23", "127.5/255", "0123abcd"):
        assert words in text
    for f in files.figures:
        for value in (*f.accuracy, f.acr, f.abstention, f.mean_radius):
            assert f"{value:.4f}" in text
        for low, high in zip(f.low, f.high, strict=True):
            assert f"{low:.3f}\u2013{high:.3f}".replace("0.", ".") in text
    assert text.count("guarantee: certified") == 4
    assert "not drawn" in text


def test_verdicts_and_class_names_are_shown(tmp_path):
    files = write_report([make_run(tmp_path / "a", channels=3)], tmp_path / "out")
    text = files.page.read_text()
    assert "class-5, answered class-3" in text
    for words in ("Right</span>: class-3", "Wrong</span>", "Abstained</span>", "certified within"):
        assert words in text


def test_pictures_are_a_mix_and_their_radii_are_rounded_down(tmp_path):
    run = load_run(make_run(tmp_path / "a", images=200, requested=200))
    pictures, notes = load_pictures(run)
    assert notes == []
    assert len(pictures) == 12
    assert {p.verdict for p in pictures} == {"right", "wrong", "abstained"}
    rows = run.frame.set_index("index")
    assert all(p.radius == rows.at[p.index, "radius"] for p in pictures)


@pytest.mark.parametrize("fault", ["cut", "objects", "shape", "strangers"])
def test_pictures_that_cannot_be_shown_are_noted(tmp_path, fault):
    folder = make_run(tmp_path / "a")
    path = folder / "samples.npz"
    pixels = np.zeros((2, 1, 4, 4), dtype=np.uint8)
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif fault == "objects":
        np.savez(path, index=np.array([{}]), clean=pixels, noisy=pixels)
    elif fault == "shape":
        np.savez(path, index=np.array([0, 20]), clean=pixels, noisy=pixels.astype(float))
    else:
        np.savez(path, index=np.array([0, 7]), clean=pixels, noisy=pixels)
    files = write_report([folder], tmp_path / "out")
    assert "samples.npz" in " ".join(files.notes[0])
    check_page(files.page.read_text())


def test_names_are_escaped(tmp_path):
    name = "<script>alert('x')</script> & | $x$"
    folder = make_run(tmp_path / "a", name=name)
    files = write_report([folder], tmp_path / "out", title="<b>title</b>")
    text = files.page.read_text()
    check_page(text)
    assert "&lt;script&gt;" in text
    assert "&lt;b&gt;title" in text
    table = files.table_md.read_text()
    assert "<script>" not in table
    assert "\\|" in table
    assert pd.read_csv(files.table_csv)["run"][0] == name


def test_the_table_is_what_the_formulas_say(tmp_path):
    radii = (0.0, 0.3, 0.71234567)
    folder = make_run(tmp_path / "a")
    files = write_report([folder], tmp_path / "out", radii=radii)
    with files.table_csv.open(newline="") as file:
        row = {
            k: v if k in ("run", "guarantee", "radius_unit", "complete") else float(v)
            for k, v in next(csv.DictReader(file)).items()
        }
    frame = load_run(folder).frame
    correct, radius = frame["correct"], frame["radius"]
    accuracy = certified_accuracy(correct, radius, radii)
    low, high = certified_accuracy_band(correct, radius, radii)
    for k, r in enumerate(("0", "0.3", "0.71234567")):
        assert row[f"certified_accuracy@{r}"] == accuracy[k]
        assert row[f"low@{r}"] == low[k]
        assert row[f"high@{r}"] == high[k]
    assert row["accuracy"] == accuracy[0]
    assert row["average_certified_radius"] == average_certified_radius(correct, radius)
    assert row["mean_radius_of_right"] == radius[correct].mean()
    assert row["abstention"] == frame["abstained"].mean()
    assert row["draws"] == 40 * 1100
    assert row["seconds"] == 20.0
    assert row["guarantee"] == "certified"


def test_two_writes_give_the_same_bytes(tmp_path):
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", name="second", seed=1)]
    one, two = (write_report(runs, tmp_path / out) for out in ("one", "two"))
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9}):
        three = write_report(runs, tmp_path / "three")
    for kind in ("page", "table_md", "table_csv", "curve_svg", "curve_png"):
        first = getattr(one, kind).read_bytes()
        assert getattr(two, kind).read_bytes() == first
        assert getattr(three, kind).read_bytes() == first
    assert not list((tmp_path / "one").glob(".*"))


def test_a_run_that_was_interrupted(tmp_path):
    folder = make_run(tmp_path / "a", images=10)
    (folder / "records.parts").mkdir()
    text = (folder / "records.jsonl").read_text()
    (folder / "records.jsonl").unlink()
    (folder / "records.parts" / "rank0.jsonl").write_text(text + '{"index": 3')
    files = write_report([folder], tmp_path / "out")
    page = files.page.read_text()
    assert "mnist is incomplete" in page
    assert "10 of 40" in page
    assert "rank0.jsonl is torn" in page
    assert "10 of 40" in files.table_md.read_text()


def test_a_run_without_images_beside_one_with(tmp_path):
    empty = tmp_path / "empty.tsv"
    empty.write_text("")
    with pytest.raises(RecordError, match="at least one certified image"):
        write_report([empty], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    files = write_report([empty, make_run(tmp_path / "a")], tmp_path / "out")
    assert math.isnan(files.figures[0].acr)
    check_page(files.page.read_text())


def test_decisions_alone_cannot_be_drawn(tmp_path):
    folder = make_run(tmp_path / "a")
    lines = (folder / "records.jsonl").read_text().splitlines()
    fields = json.loads(lines[1])
    fields["radius"] = None
    (folder / "records.jsonl").write_text("\n".join([lines[0], json.dumps(fields), ""]))
    with pytest.raises(RecordError, match="only decisions were made"):
        write_report([folder], tmp_path / "out")


def test_an_output_that_cannot_be_written(tmp_path):
    folder = make_run(tmp_path / "a")
    (tmp_path / "file").write_text("kept")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="Choose another with --out"):
            write_report([folder], out)
    assert (tmp_path / "file").read_text() == "kept"
    (tmp_path / "out" / "index.html").mkdir(parents=True)
    with pytest.raises(InputError, match="Choose another with --out"):
        write_report([folder], tmp_path / "out")


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "a", name="[bold]a[/bold]")
    assert main(["a"]) == 0
    shown = capsys.readouterr().out
    assert "[bold]a[/bold]" in shown
    assert str(Path("a", "report", "index.html")) in shown
    assert main(["a/records.jsonl", "--radii", "0", "1", "--title", "T"]) == 0
    assert "certified_accuracy@1," in (tmp_path / "report" / "table.csv").read_text()
    assert main(["a", "--out", "elsewhere"]) == 0
    assert (tmp_path / "elsewhere" / "index.html").exists()
    with pytest.raises(RecordError):
        main(["none"])
    with pytest.raises(InputError, match="--radii"):
        main(["a", "--radii", "-1"])
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "lightning-smooth report runs/mnist" in capsys.readouterr().out


def test_radii():
    assert default_radii(0.953) == (0, 0.25, 0.5, 0.75)
    assert default_radii(0.0) == (0.0,)
    assert default_radii(0.31) == (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    assert default_radii(0.6) == (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert default_radii(9.0) == (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    for largest in np.geomspace(1e-3, 1e3, 200):
        radii = default_radii(float(largest))
        assert 2 <= len(radii) <= 11
        assert largest / 3 < radii[-1] <= largest * (1 + 1e-9)
    for wrong in ([], [-1.0], [math.nan], [math.inf]):
        with pytest.raises(InputError, match="`radii`"):
            check_radii(wrong)


def test_durations():
    assert duration(math.nan) == "\u2013"
    assert duration(3600.0) == "1 h 0 min"


def test_the_curve_is_exact_and_small(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["idx\tlabel\tpredict\tradius\tcorrect\ttime"]
    lines += [f"{i}\t3\t3\t{r!r}\t1\t1.0" for i, r in enumerate(rng.gamma(2, 0.5, 10_000).tolist())]
    path = tmp_path / "big.tsv"
    path.write_text("\n".join(lines) + "\n")
    run = load_run(path)
    correct, radius = run.frame["correct"], run.frame["radius"]
    end = float(radius.max()) * 1.03
    falls = steps(run, end)
    assert radius.max() in falls
    asked = rng.uniform(0, end, 2000)
    drawn = certified_accuracy(correct, radius, falls)[np.searchsorted(falls, asked)]
    assert np.abs(drawn - certified_accuracy(correct, radius, asked)).max() < 1 / 1000
    files = write_report([path], tmp_path / "out")
    assert files.curve_svg.stat().st_size < 600_000
    few = load_run(make_run(tmp_path / "a"))
    right = few.frame["radius"][few.frame["correct"]]
    assert steps(few, 9.0).tolist() == [*np.unique(right), 9.0]


@needs_logs
def test_shared_logs_in_one_report(tmp_path):
    names = ("mnist_gaussian_sigma1.00", "mnist_smoothmix_sigma1.00", "crlf", "partial_run")
    files = write_report([LOGS / f"{name}.tsv" for name in names], tmp_path / "out", radii=(0, 2))
    table = pd.read_csv(files.table_csv).set_index("run")
    assert table["certified_accuracy@2"].round(4).tolist()[:2] == [0.3248, 0.4489]
    assert table["average_certified_radius"].round(4).tolist()[:2] == [1.6187, 1.8229]
    assert set(table["guarantee"]) == {"unknown"}
    text = files.page.read_text()
    check_page(text)
    assert len(text) < 1_000_000
    with pytest.raises(RecordError, match="PREDICT"):
        write_report([LOGS / "predict.tsv"], tmp_path / "out")


@needs_chromium
def test_a_browser_shows_it(tmp_path):
    files = write_report([make_run(tmp_path / "a")], tmp_path / "out")
    browser = [
        *(str(shutil.which("chromium")), "--headless=new", "--no-sandbox", "--disable-gpu"),
        *("--disable-background-networking", "--no-first-run", "--disable-component-update"),
        *("--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"),
    ]
    address = files.page.as_uri()
    shot = tmp_path / "shot.png"
    subprocess.run(
        [*browser, f"--screenshot={shot}", "--window-size=1280,1600", address],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    pixels = mpl.image.imread(shot)
    assert pixels.shape[:2] == (1600, 1280)
    assert pixels.std() > 0.02
    dom = subprocess.run(
        [*browser, "--dump-dom", address], capture_output=True, timeout=120, check=True, text=True
    ).stdout
    f = files.figures[0]
    for value in (f.clean, f.acr, f.abstention, f.accuracy[-1]):
        assert f"{value:.4f}" in dom


def in_l1(folder):
    path = folder / "records.jsonl"
    path.write_text(path.read_text().replace('"radius_unit":"l2"', '"radius_unit":"l1"'))
    return folder


def test_radii_are_called_by_their_norm(tmp_path):
    files = write_report([in_l1(make_run(tmp_path / "a"))], tmp_path / "out")
    page = files.page.read_text()
    assert "ℓ₁ norm" in page
    assert "ℓ₂" not in page
    table = (tmp_path / "out" / "table.md").read_text()
    assert "ℓ₁ radius" in table
    assert "ℓ₁" in str(terminal_table(files.figures).title)


def test_radii_of_two_norms_share_no_report(tmp_path):
    runs = [make_run(tmp_path / "a"), in_l1(make_run(tmp_path / "b"))]
    with pytest.raises(InputError, match="measure the same"):
        write_report(runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_of_two_norms_is_refused(tmp_path):
    folder = make_run(tmp_path / "a")
    path = folder / "records.jsonl"
    path.write_text(path.read_text().replace('"radius_unit":"l2"', '"radius_unit":"l1"', 1))
    with pytest.raises(RecordError, match="one unit"):
        write_report([folder], tmp_path / "out")
