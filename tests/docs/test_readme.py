"""The README's Python runs, in order, as a reader would paste it; its commands and files exist."""

import re
import shlex
from pathlib import Path

import pytest

from lightning_smooth.__main__ import _VERBS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()


def test_the_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) >= 2
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    certificate = names["certificate"]
    assert certificate.n == 10_000
    assert f"{certificate.predicted} {certificate.radius}\n" in capsys.readouterr().out
    assert [c.index for c in names["certificates"]] == list(range(20))
    assert (tmp_path / "runs" / "api" / "records.jsonl").exists()


def test_its_commands_have_verbs_and_its_files_exist():
    commands = re.findall(r"^    lightning-smooth (.*?)(?<!\\)$", TEXT, flags=re.M | re.S)
    assert len(commands) >= 4
    for command in commands:
        words = shlex.split(command.replace("\\\n", " "), comments=True)
        assert words[0] in _VERBS
        for name in re.findall(r"configs/[\w/]+\.yaml", command):
            assert (ROOT / name).is_file()


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)h][^)]*)\)", TEXT))
def test_its_links_lead_somewhere(target):
    assert (ROOT / target).exists()
