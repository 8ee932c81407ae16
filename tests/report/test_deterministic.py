"""A report of certificates without draws speaks of the classifier itself, and of no probability."""

import torch
from torch import nn

from lightning_smooth.records.store import RecordStore
from lightning_smooth.report import write_report
from lightning_smooth.transforms import IntegerTranslation
from lightning_smooth.verify import EnumerationCertifier


def test_the_words_are_those_of_a_classifier_without_noise(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double()
    certifier = EnumerationCertifier(IntegerTranslation("zero"), 2.0)
    images = list(torch.rand(4, 1, 6, 6, dtype=torch.float64))
    store = RecordStore(tmp_path / "run" / "records.jsonl")
    store.recover()
    header = {"name": "shifts", "model": "m", "certifier": certifier.describe(), "data": "d"}
    store.open({**header, "selection": {"skip": 1, "limit": None, "images": 4}})
    for found in certifier.certify_batch(model, images, indices=range(4), labels=[0, 1, 2, 0]):
        store.append(found)
    store.merge()
    files = write_report([tmp_path / "run"], tmp_path / "report")
    page, table = files.page.read_text(), files.table_md.read_text()
    assert "smoothed" not in page + table
    assert "right at radius 0 (classifier)" in page
    assert "p_lower" not in page
    assert "Where nothing is drawn (alpha 0), it just holds." in page
    assert "Certified accuracy against radius" in page
