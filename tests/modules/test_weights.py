"""Fine-tuning: when a file of weights is read, and when it must not be."""

import json
import subprocess
import sys

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateFinder

from lightning_smooth import CertificationCallback, GaussianCertifier, SmoothTrainer
from lightning_smooth.__main__ import main
from lightning_smooth.data import Digits
from lightning_smooth.errors import InputError
from lightning_smooth.models import SmallConvNet, fingerprint
from lightning_smooth.modules import GaussianAugmentation
from lightning_smooth.records.reading import read_records


def network(seed=0, classes=10):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SmallConvNet(image_size=8, padding=1, num_classes=classes)


@pytest.fixture
def file(tmp_path):
    """Weights of a network of seed 7."""
    path = tmp_path / "weights.pt"
    torch.save(network(7).state_dict(), path)
    return path


def module(file, lr=0.0, model=None, **settings):
    weights = None if file is None else str(file)
    return GaussianAugmentation(
        model or network(), 0.3, lambda p: torch.optim.SGD(p, lr=lr), weights=weights, **settings
    )


def trainer(tmp_path, kind=pl.Trainer, **settings):
    settings = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1, **settings}
    return kind(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path / "run", **settings,
    )  # fmt: skip


def same(one, two):
    return fingerprint(one)["weights"] == fingerprint(two)["weights"]


def test_training_starts_from_the_file(file, tmp_path):
    tuned = module(file)
    trainer(tmp_path).fit(tuned, datamodule=Digits())
    assert same(tuned.model, network(7)), "a learning rate of 0 leaves the weights as they were"
    trained = module(file, lr=0.1)
    trainer(tmp_path).fit(trained, datamodule=Digits())
    assert not same(trained.model, network(7))


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_the_other_loops_take_the_file_too(verb, file, tmp_path):
    subject = module(file)
    getattr(trainer(tmp_path, limit_test_batches=1, limit_predict_batches=1), verb)(
        subject, datamodule=Digits()
    )
    assert same(subject.model, network(7))


def test_what_was_trained_is_not_replaced(file, tmp_path):
    subject, judge = module(file, lr=0.1), trainer(tmp_path, limit_test_batches=1)
    judge.fit(subject, datamodule=Digits())
    trained = fingerprint(subject.model)
    judge.test(subject, datamodule=Digits(), verbose=False)
    trainer(tmp_path, limit_predict_batches=1).predict(subject, datamodule=Digits())
    assert fingerprint(subject.model) == trained


@pytest.mark.parametrize("lost", [False, True], ids=["file there", "file gone"])
@pytest.mark.parametrize("verb", ["fit", "test", "predict"])
def test_a_checkpoint_goes_before_the_file(verb, lost, file, tmp_path):
    first, judge = module(file, lr=0.1), trainer(tmp_path, limit_test_batches=1)
    judge.fit(first, datamodule=Digits())
    judge.save_checkpoint(tmp_path / "last.ckpt")
    if lost:
        file.unlink()
    again = module(file, model=network(3))
    judge = trainer(tmp_path, limit_test_batches=1, limit_predict_batches=1)  # no epoch is left
    getattr(judge, verb)(again, datamodule=Digits(), ckpt_path=tmp_path / "last.ckpt")
    assert same(again.model, first.model)


def test_a_loaded_state_goes_before_the_file(file, tmp_path):
    subject = module(file)
    subject.load_state_dict(module(None, model=network(5)).state_dict())
    trainer(tmp_path).fit(subject, datamodule=Digits())
    assert same(subject.model, network(5))


def test_a_search_that_restores_its_start_restores_the_file_s_weights(file, tmp_path):
    class Searched(GaussianAugmentation):
        lr = 0.1

        def configure_optimizers(self):
            super().configure_optimizers()
            return torch.optim.SGD(self.parameters(), lr=self.lr)

        def on_train_start(self):
            starts.append(fingerprint(self.model))

    starts: list[dict[str, str]] = []
    subject = Searched(network(), 0.3, weights=str(file))
    finder = LearningRateFinder(num_training_steps=3, update_attr=False, attr_name="lr")
    judge = trainer(tmp_path, callbacks=[finder], limit_train_batches=4, num_sanity_val_steps=0)
    judge.fit(subject, datamodule=Digits())
    assert starts[-1]["weights"] == fingerprint(network(7))["weights"]


def test_the_settings_are_kept_as_plain_types(file, tmp_path):
    judge = trainer(tmp_path)
    judge.fit(module(file, weights_head="new"), datamodule=Digits())
    judge.save_checkpoint(tmp_path / "x.ckpt")
    stored = torch.load(tmp_path / "x.ckpt", weights_only=True)["hyper_parameters"]
    assert (stored["weights"], stored["weights_head"]) == (str(file), "new")


def test_a_file_that_does_not_fit_stops_before_the_first_step(file, tmp_path):
    torch.save(network(7, classes=4).state_dict(), file)
    subject, judge = module(file), trainer(tmp_path)
    with pytest.raises(InputError, match=r"weights_head to new"):
        judge.fit(subject, datamodule=Digits())
    assert judge.global_step == 0
    file.unlink()
    with pytest.raises(InputError, match=r"weights\.pt does not exist"):
        trainer(tmp_path).fit(module(file), datamodule=Digits())


def test_a_new_head_of_another_size(file, tmp_path):
    torch.save(network(7, classes=4).state_dict(), file)
    subject = module(file, weights_head="new")
    trainer(tmp_path).fit(subject, datamodule=Digits())
    assert torch.equal(subject.model.features[0].weight, network(7).features[0].weight)
    assert torch.equal(subject.model.head[5].weight, network().head[5].weight)


def test_a_trainer_certifies_the_file_s_weights(file, tmp_path):
    callback = CertificationCallback(GaussianCertifier(0.3, n0=5, n=20), pictures=0)
    judge = trainer(tmp_path, SmoothTrainer, callbacks=[callback])
    judge.certify(module(file), datamodule=Digits(limit=2))
    header = read_records(tmp_path / "run" / "records.jsonl").header
    assert header["model"] == fingerprint(network(7))


# The same through the command that a user types.

QUICK = [
    "--config=configs/digits.yaml", "--trainer.accelerator=cpu", "--data.limit=2",
    "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
    "--certification.certifier.n=20", "--certification.certifier.n0=5",
    "--certification.val_images=2", "--trainer.limit_train_batches=2", "--trainer.max_epochs=1",
]  # fmt: skip


@pytest.fixture
def top(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    monkeypatch.delenv("LIGHTNING_SMOOTH_FOLDER", raising=False)


def certified(folder, name="records.jsonl"):
    return read_records(folder / name).header["model"]["weights"]


@pytest.mark.usefixtures("top")
def test_certify_takes_the_file_where_there_is_no_checkpoint(file, tmp_path):
    out = tmp_path / "out"
    assert main(["certify", *QUICK, f"--model.weights={file}", f"--output.folder={out}"]) == 0
    assert certified(out) == fingerprint(network(7))["weights"]


@pytest.mark.usefixtures("top")
def test_a_finished_run_needs_its_file_no_more(file, tmp_path):
    out = tmp_path / "out"
    command = ["run", *QUICK, f"--model.weights={file}", f"--output.folder={out}"]
    assert main([*command, "--model.optimizer.lr=0.0"]) == 0
    tuned = certified(out)
    assert tuned == fingerprint(network(7))["weights"]
    file.unlink()
    assert main([*command, "--model.optimizer.lr=0.0", "--data.limit=3"]) == 0
    assert [c.index for c in read_records(out / "records.jsonl").certificates] == [0, 1, 2]
    again = ["certify", f"--config={out / 'config.yaml'}", f"--output.folder={out}"]
    assert main([*again, "--certification.records=again.jsonl"]) == 0
    assert certified(out, "again.jsonl") == tuned
    best = json.loads((out / "summary.json").read_text())["fit"]["checkpoint"]
    elsewhere = [f"--ckpt_path={out / best}", f"--output.folder={tmp_path / 'elsewhere'}"]
    assert main([*again[:2], *elsewhere]) == 0
    assert certified(tmp_path / "elsewhere") == tuned


@pytest.mark.usefixtures("top")
def test_a_stopped_run_goes_on_without_its_file(file, tmp_path):
    out = tmp_path / "out"
    command = [*QUICK, f"--model.weights={file}", f"--output.folder={out}"]
    assert main(["fit", *command]) == 0
    (out / "summary.json").unlink()  # as if it had been killed after the first epoch
    file.unlink()
    assert main(["run", *command, "--trainer.max_epochs=2"]) == 0
    assert json.loads((out / "summary.json").read_text())["fit"]["steps"] == 4


@pytest.mark.usefixtures("top")
def test_a_checkpoint_says_that_other_weights_are_not_loaded(file, tmp_path):
    out = tmp_path / "out"
    assert main(["fit", *QUICK, f"--output.folder={out}"]) == 0
    command = ["certify", *QUICK, f"--output.folder={out}", f"--model.weights={file}"]
    with pytest.warns(UserWarning, match=r"weights\.pt are not loaded: the checkpoint .*ckpt goes"):
        assert main(command) == 0
    assert certified(out) != fingerprint(network(7))["weights"]


@pytest.mark.usefixtures("top")
def test_a_foreign_file_is_a_sentence_at_the_command_line(file, tmp_path, capfd):
    state = {f"1.{k}": v for k, v in network(7).state_dict().items()}
    torch.save({**state, "1.extra": torch.zeros(1)}, file)
    command = ["fit", *QUICK, f"--model.weights={file}", f"--output.folder={tmp_path / 'out'}"]
    assert main(command) == 2
    said = capfd.readouterr().err
    assert "1 unexpected (1.extra)" in said
    assert "Traceback" not in said


TWO = """
import sys, torch
import pytorch_lightning as pl
from lightning_smooth.data import Digits
from lightning_smooth.models import SmallConvNet, fingerprint
from lightning_smooth.modules import GaussianAugmentation

class Told(GaussianAugmentation):
    def on_train_start(self):
        with open(f"{sys.argv[2]}/rank{self.global_rank}", "w") as out:
            out.write(fingerprint(self.model)["weights"])

if __name__ == "__main__":
    torch.manual_seed(1)
    module = Told(SmallConvNet(image_size=8, padding=1), 0.3, weights=sys.argv[1])
    pl.Trainer(
        accelerator="cpu", strategy="ddp_fork", devices=2, logger=False, max_steps=1,
        enable_checkpointing=False, enable_progress_bar=False, limit_val_batches=0,
    ).fit(module, datamodule=Digits(num_workers=0))
    with open(f"{sys.argv[2]}/after", "w") as out:
        out.write(str(module._weights_due))
"""


@pytest.mark.slow
@pytest.mark.xdist_group("distributed")
def test_every_rank_starts_from_the_file(file, tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, tmp_path / "two.py", file, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = {(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)}
    assert told == {fingerprint(network(7))["weights"]}
    assert (tmp_path / "after").read_text() == "False", "what was trained comes back from them"
