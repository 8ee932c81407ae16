"""The main job through the command a user types, on real scans of digits."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from lightning_smooth import cli
from lightning_smooth.__main__ import main
from lightning_smooth.records.reading import read_records

from .conftest import QUICK


def verdicts(folder, name="records.jsonl"):
    return [dataclasses.replace(c, seconds=0.0) for c in read_records(folder / name).certificates]


def test_run_trains_certifies_and_reports(tmp_path, capsys):
    folder = tmp_path / "run"
    command = ["run", *QUICK, "--trainer.max_epochs=15", f"--output.folder={folder}"]
    assert main([*command, "--data.limit=40"]) == 0
    kept = {path.name for path in folder.iterdir()}
    assert {"config.yaml", "env.json", "checkpoints", "records.jsonl", "summary.json",
            "samples.npz", "report", "logs"} <= kept  # fmt: skip
    assert "index.html" in capsys.readouterr().out.replace("\n", "")
    certificates = verdicts(folder)
    assert len(certificates) == 40
    summary = json.loads((folder / "summary.json").read_text())
    correct = sum(c.correct for c in certificates)
    assert summary["certify"]["certified_accuracy@0"] == correct / 40
    assert correct / 40 > 0.5  # fifteen epochs learn something real
    header = read_records(folder / "records.jsonl").header
    assert header["certifier"]["n"] == 200
    assert header["data"]["name"] == "digits"
    samples = np.load(folder / "samples.npz", allow_pickle=False)
    assert samples["clean"].shape == samples["noisy"].shape == (16, 1, 8, 8)

    # A second run keeps the training and the records, and a larger limit goes on from them.
    before = (folder / "checkpoints" / "best.ckpt").stat().st_mtime_ns
    assert main([*command, "--data.limit=50"]) == 0
    assert (folder / "checkpoints" / "best.ckpt").stat().st_mtime_ns == before
    assert verdicts(folder)[:40] == certificates
    with pytest.warns(UserWarning, match="It has 15 epochs, and max_epochs is 16"):
        assert main([*command, "--data.limit=50", "--trainer.max_epochs=16"]) == 0
    assert len(verdicts(folder)) == 50


def test_a_stopped_training_goes_on_from_its_last_checkpoint(tmp_path):
    folder = tmp_path / "run"
    command = ["run", *QUICK, f"--output.folder={folder}", "--data.limit=2"]
    assert main(["fit", *command[1:], "--trainer.max_epochs=1"]) == 0
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["fit"]["epochs"] == 1
    (folder / "summary.json").unlink()  # as if it had been killed after the first epoch
    assert main([*command, "--trainer.max_epochs=2"]) == 0
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["fit"]["epochs"] == 2
    steps = summary["fit"]["steps"]
    assert steps == 2 * 20  # 1237 images in batches of 64


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_the_other_verbs_run(verb, checkpoint, tmp_path):
    command = [verb, *QUICK, f"--ckpt_path={checkpoint}", f"--output.folder={tmp_path / 'out'}"]
    assert main(command) == 0
    assert not (tmp_path / "out" / "records.jsonl").exists()


def test_certify_finds_the_run_of_its_checkpoint(trained, checkpoint):
    records = "--certification.records=here.jsonl"
    assert main(["certify", *QUICK, f"--ckpt_path={checkpoint}", "--data.limit=2", records]) == 0
    assert len(verdicts(trained, "here.jsonl")) == 2


def test_the_command_line_beats_the_checkpoint_s_hyperparameters(checkpoint, tmp_path):
    command = ["certify", *QUICK, f"--ckpt_path={checkpoint}", f"--output.folder={tmp_path}"]
    with pytest.warns(UserWarning, match=r"trained with sigma = 0.25; the command says 0.5"):
        assert main([*command, "--data.limit=3", "--model.sigma=0.5",
                     "--certification.certifier.sigma=0.75"]) == 0  # fmt: skip
    header = read_records(tmp_path / "records.jsonl").header
    assert header["certifier"]["sigma"] == 0.75
    assert all(c.parameters["sigma"] == 0.75 for c in verdicts(tmp_path))
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["model"]["init_args"]["sigma"] == 0.5


def test_options_beat_the_yaml_wherever_they_stand(tmp_path):
    options = ["--trainer.max_epochs=1", "--certification.val_images=3", "--trainer.logger=false"]
    assert main(["fit", *options, *QUICK, f"--output.folder={tmp_path}"]) == 0
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["trainer"]["max_epochs"] == 1
    assert config["certification"]["val_images"] == 3


def test_verbs_on_a_run_s_folder_take_its_checkpoint(trained, capsys):
    assert main(["test", *QUICK, f"--output.folder={trained}"]) == 0
    assert "test/noisy_accuracy" in capsys.readouterr().out


def test_records_of_two_names_do_not_mix(checkpoint, tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(cli, "rank_zero_info", said.append)
    command = ["certify", *QUICK, f"--ckpt_path={checkpoint}", f"--output.folder={tmp_path}"]
    assert main([*command, "--data.limit=3"]) == 0
    assert said[-1] == f"Next: lightning-smooth report {tmp_path}"
    before = (tmp_path / "samples.npz").read_bytes()
    name = "--certification.records=quick.jsonl"
    assert main([*command, "--data.limit=2", name, "--certification.certifier.n=50"]) == 0
    assert said[-1] == f"Next: lightning-smooth report {tmp_path}/quick.jsonl"
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["certify"]["images"], summary["certify quick"]["images"]) == (3, 2)
    assert (tmp_path / "samples.npz").read_bytes() == before
    assert (tmp_path / "quick-samples.npz").exists()
    assert main(["report", str(tmp_path / "quick.jsonl"), "--out", str(tmp_path / "r")]) == 0


def test_a_run_s_own_config_repeats_it(trained, checkpoint, tmp_path):
    command = ["certify", f"--config={trained / 'config.yaml'}", f"--ckpt_path={checkpoint}"]
    command += [f"--output.folder={tmp_path}", "--data.limit=4"]
    assert main(command) == 0
    header = read_records(tmp_path / "records.jsonl").header
    assert header["certifier"]["n"] == 200
    assert header["certifier"]["n0"] == 20


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
)
def test_killed_anywhere_and_run_again_it_ends_with_the_same_records(seed, checkpoint, tmp_path):
    command = ["certify", *QUICK, f"--ckpt_path={checkpoint}", "--data.limit=60"]
    command += ["--certification.certifier.n=2000", "--certification.pictures=0"]
    whole = tmp_path / "whole"
    assert main([*command, f"--output.folder={whole}"]) == 0
    killed = tmp_path / "killed"
    shell = [sys.executable, "-m", "lightning_smooth", *command, f"--output.folder={killed}"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    wait = random.Random(seed)
    parts = killed / "records.parts"
    process = subprocess.Popen(shell, env=env, stderr=subprocess.DEVNULL)
    goal = wait.randrange(1, 40)
    for _ in range(6000):
        lines = sum(p.read_bytes().count(b"\n") for p in parts.glob("rank*.jsonl"))
        if lines > goal or process.poll() is not None:
            break
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "records.jsonl").exists()
    assert main([*command, f"--output.folder={killed}"]) == 0
    assert verdicts(killed) == verdicts(whole)
    assert [c.index for c in verdicts(killed)] == list(range(60))


def test_a_polite_kill_stops_it_with_its_records_in_order(checkpoint, tmp_path):
    command = ["certify", *QUICK, f"--ckpt_path={checkpoint}", "--data.limit=60"]
    command += ["--certification.certifier.n=4000", f"--output.folder={tmp_path}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lightning_smooth", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    part = tmp_path / "records.parts" / "rank0.jsonl"
    while process.poll() is None and (not part.exists() or part.read_bytes().count(b"\n") < 3):
        time.sleep(0.01)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Run the same command" in " ".join(said.split())
    recorded = part.read_bytes().count(b"\n") - 1
    assert 2 <= recorded < 60
    assert main(command) == 0
    assert [c.index for c in verdicts(tmp_path)] == list(range(60))


@pytest.mark.parametrize("batch_size", [32, 500])
def test_batch_sizes_give_the_same_records(batch_size, checkpoint, tmp_path):
    command = ["certify", *QUICK, f"--ckpt_path={checkpoint}", "--data.limit=20"]
    assert main([*command, f"--output.folder={tmp_path / 'a'}"]) == 0
    sizes = [f"--certification.certifier.batch_size={batch_size}", "--data.eval_batch_size=7"]
    assert main([*command, *sizes, f"--output.folder={tmp_path / 'b'}"]) == 0
    assert verdicts(tmp_path / "a") == verdicts(tmp_path / "b")


def test_skip_chooses_every_kth_image(checkpoint, tmp_path):
    command = ["certify", *QUICK, f"--ckpt_path={checkpoint}", f"--output.folder={tmp_path}"]
    assert main([*command, "--data.skip=50", "--data.limit=5"]) == 0
    assert [c.index for c in verdicts(tmp_path)] == [0, 50, 100, 150, 200]


def test_wandb_tracks_a_run_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "run"
    command = ["run", *QUICK, "--config=configs/logger/wandb.yaml", "--data.limit=3"]
    assert main([*command, "--trainer.max_epochs=1", f"--output.folder={folder}"]) == 0
    (offline,) = (folder / "wandb").glob("offline-run-*")
    assert any(offline.glob("*.wandb"))
    import wandb

    wandb.finish()
