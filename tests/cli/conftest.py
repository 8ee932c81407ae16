"""A small trained run on the digits, made once a session by the real command."""

import pytest

from lightning_smooth.__main__ import main

QUICK = [
    "--config=configs/digits.yaml",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--certification.certifier.n=200",
    "--certification.certifier.n0=20",
]


@pytest.fixture(autouse=True)
def _at_the_top(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    monkeypatch.delenv("LIGHTNING_SMOOTH_FOLDER", raising=False)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, request):
    """Folder of a run trained for two epochs."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(request.config.rootpath)
        assert main(["fit", *QUICK, "--trainer.max_epochs=2", f"--output.folder={folder}"]) == 0
    return folder


@pytest.fixture
def checkpoint(trained):
    return trained / "checkpoints" / "best.ckpt"
