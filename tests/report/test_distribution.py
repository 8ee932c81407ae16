"""A run whose certificates are about a distribution says so wherever its guarantee stands."""

import dataclasses
import json

import pytest

from lightning_smooth.records.reading import read_records
from lightning_smooth.records.summary import summarise
from lightning_smooth.report import main
from tests.report.test_report import make_run

CLAIM = "certified for a fraction 0.934 of the distribution"


@pytest.fixture
def distributional(tmp_path):
    """A run whose records hold for a fraction of .93499, and another that holds for each image."""
    path = make_run(tmp_path / "d") / "records.jsonl"
    head, *lines = path.read_text().splitlines()
    found = []
    for certificate in read_records(path).certificates:
        parameters = {**certificate.parameters, "holds_for": "images of a fraction q"}
        other = dataclasses.replace(certificate, parameters=parameters, measured={"q": 0.93499})
        found.append(other.to_json())
    assert len(found) == len(lines)
    path.write_text("\n".join([head, *found]) + "\n")
    return path


def test_the_report_says_of_which_fraction(distributional, tmp_path, capsys):
    other = make_run(tmp_path / "x", name="x")
    out = tmp_path / "report"
    assert main([str(distributional), str(other), "--out", str(out)]) == 0
    page = (out / "index.html").read_text()
    assert CLAIM in page
    assert "which ones is not known" in page
    assert main([str(other), "--out", str(out)]) == 0
    alone = (out / "index.html").read_text()
    assert "which ones is not known" not in alone
    assert "certified: each radius holds" in alone


def test_the_summary_says_so_too(distributional):
    found = read_records(distributional).certificates
    assert summarise(found, [0.5])["guarantee"] == CLAIM
    assert json.loads(found[0].to_json())["guarantee"] == "certified"
