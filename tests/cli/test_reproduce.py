"""scripts/reproduce_mnist: what is left to do of a run, from what its folder holds."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/reproduce_mnist"


@pytest.fixture
def script():
    loader = SourceFileLoader("reproduce_mnist", str(SCRIPT))
    module = module_from_spec(spec_from_loader("reproduce_mnist", loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def left(script, tmp_path, monkeypatch):
    """The commands that are left of MACER at sigma .5, from the network of Gaussian training."""
    told = []
    monkeypatch.setattr(script, "make", lambda *args: told.append(script.commands(*args)))
    monkeypatch.setattr(script, "figures", lambda *args: None)

    def commands(*more):
        told.clear()
        given = ["--methods", "macer", "--sigmas", "0.5", "--start", "gaussian", "--epochs", "2"]
        folders = ["--runs", str(tmp_path), "--images", "4", "--n", "100"]
        monkeypatch.setattr("sys.argv", [str(SCRIPT), *given, *folders, *more])
        script.main()
        return told[0]

    return commands


def lines(count):
    return "".join(f'{{"line": {number}}}\n' for number in range(count))


def test_what_is_done_is_not_done_again(left, tmp_path):
    run = tmp_path / "macer-0.5"
    run.mkdir()
    assert [words[0] for words in left()] == ["fit", "certify", "certify"]
    assert [words[0] for words in left("--no-decisions")] == ["fit", "certify"]
    (run / "trained").touch()
    assert [words[0] for words in left()] == ["certify", "certify"]
    (run / "records-100.jsonl").write_text(lines(4))
    assert [words[0] for words in left("--no-decisions")] == ["certify"]
    (run / "records-100.jsonl").write_text(lines(5))
    assert left("--no-decisions") == []


def test_a_training_that_was_cut_off_goes_on_from_its_last_epoch(left, tmp_path):
    fit = left()[0]
    assert f"--model.weights={tmp_path}/gaussian-0.5/checkpoints/last.ckpt" in fit
    assert not any(word.startswith("--ckpt_path") for word in fit)
    last = tmp_path / "macer-0.5/checkpoints/last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    assert f"--ckpt_path={last}" in left()[0]


def test_the_settings_of_a_sigma_are_those_of_its_yaml(script, left):
    fit = left()[0]
    assert "--model.sigma=0.5" in fit
    assert "--model.robustness=16" in fit
    for method in script.PUBLISHED:
        assert script.yaml_of(method).is_file()
