"""The long checks: real data from pixels to certificates, and coverage over many runs."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from scipy.stats import binom, norm
from torch import nn

from lightning_smooth.__main__ import main
from lightning_smooth.certify import GaussianCertifier
from lightning_smooth.records.reading import read_records
from lightning_smooth.records.summary import summarise

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("distance", "alpha"), [(0.0, 0.05), (0.25, 0.05), (0.9, 0.05)])
def test_coverage_over_thousands_of_runs(distance, alpha):
    """A halfspace at `distance`: a radius beyond it is an error, and alpha bounds their rate."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[-0.5] * 4, [0.5] * 4]))  # of length 1
        model[1].bias.copy_(torch.tensor([1.0 - distance, distance - 1.0]))
    image, runs = torch.full((1, 2, 2), 0.5), 4000
    certifier = GaussianCertifier(0.5, n0=20, n=200, alpha=alpha)
    found = [certifier(model, image, index=i) for i in range(runs)]
    wrong = sum(not c.abstained and (c.candidate != 1 or c.radius > distance) for c in found)
    assert wrong <= binom.ppf(1 - 1e-4, runs, alpha)
    rate = sum(c.votes.get(1, 0) for c in found) / (runs * 200)
    p = norm.cdf(distance / 0.5)
    assert rate == pytest.approx(p, abs=5 * (p * (1 - p) / (runs * 200)) ** 0.5 + 1e-9)


def test_an_epoch_of_real_mnist_gives_certificates(real_mnist, tmp_path):
    command = ["--config=configs/mnist.yaml", "--config=configs/trainer/cpu.yaml"]
    command += [f"--data.root={real_mnist}", f"--output.folder={tmp_path}", "--data.skip=200"]
    command += ["--data.limit=50", "--certification.certifier.n=1000", "--trainer.max_epochs=2"]
    os.chdir(ROOT)
    assert main(["run", *command, "--trainer.enable_progress_bar=false"]) == 0
    certificates = read_records(tmp_path / "records.jsonl").certificates
    figures = summarise(certificates, [0.0, 0.5])
    assert figures["images"] == 50
    assert figures["certified_accuracy@0"] > 0.85
    assert figures["certified_accuracy@0.5"] > 0.6


def test_killed_again_and_again_on_changing_numbers_of_processes(tmp_path):
    base = [sys.executable, "-m", "lightning_smooth", "certify", "--config=configs/digits.yaml",
            "--trainer.accelerator=cpu", "--data.limit=120",
            "--certification.certifier.n=2000"]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet = {"cwd": ROOT, "env": env, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*base, f"--output.folder={whole}"], check=True, **quiet)
    chance = random.Random(0)
    parts = killed / "records.parts"

    def recorded():
        lines = sum(p.read_bytes().count(b"\n") for p in parts.glob("rank*.jsonl"))
        main_file = killed / "records.jsonl"
        return lines + (main_file.read_bytes().count(b"\n") if main_file.exists() else 0)

    for _ in range(4):
        ddp = chance.choice([[], ["--trainer.devices=2", "--trainer.strategy=ddp"]])
        process = subprocess.Popen(
            [*base, *ddp, f"--output.folder={killed}"], start_new_session=True, **quiet
        )
        goal = recorded() + chance.randrange(3, 25)
        while process.poll() is None and recorded() < goal:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([*base, f"--output.folder={killed}"], check=True, **quiet)

    def verdicts(folder):
        found = read_records(folder / "records.jsonl").certificates
        return [dataclasses.replace(c, seconds=0.0) for c in found]

    # built with one seed, both are the same untrained network
    assert verdicts(killed) == verdicts(whole)
