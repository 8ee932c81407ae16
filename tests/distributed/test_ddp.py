"""Real processes over gloo: the same records, each image once, and noise of one's own."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_smooth.records.attack import AttackOutcome
from lightning_smooth.records.reading import read_kind, read_records

ROOT = Path(__file__).parents[2]
BASE = [
    "--config=configs/digits.yaml",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--certification.certifier.n=100",
    "--certification.certifier.n0=10",
]

pytestmark = pytest.mark.xdist_group("distributed")


def shell(*arguments, timeout=300, status=0):
    env = {k: v for k, v in os.environ.items() if k != "LIGHTNING_SMOOTH_FOLDER"}
    env["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, timeout=timeout, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout[-4000:]
    return done.stdout


def verdicts(folder):
    certificates = read_records(folder / "records.jsonl").certificates
    return [dataclasses.replace(c, seconds=0.0) for c in certificates]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trained by two processes, certified by one."""
    folder = tmp_path_factory.mktemp("run")
    ddp = ["--trainer.devices=2", "--trainer.strategy=ddp"]
    out = f"--output.folder={folder}"
    shell("-m", "lightning_smooth", "fit", *BASE, *ddp, "--trainer.max_epochs=2", out)
    shell("-m", "lightning_smooth", "certify", *BASE, "--data.limit=31", out)
    return folder


def test_two_processes_train_into_one_folder(run):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["fit"]["epochs"] == 2
    assert summary["fit"]["steps"] == 2 * 10  # 1237 images, 2 processes of 64
    assert (run / "checkpoints" / "best.ckpt").exists()


SLOW = pytest.mark.slow  # three processes on two cores


@pytest.mark.parametrize(
    ("devices", "limit"),
    [(2, 31), pytest.param(3, 31, marks=SLOW), pytest.param(3, 4, marks=SLOW)],
)
def test_any_number_of_processes_gives_the_same_records(run, devices, limit, tmp_path):
    # uneven shards, all of them
    shell("-m", "lightning_smooth", "certify", *BASE, f"--trainer.devices={devices}",
          "--trainer.strategy=ddp", f"--data.limit={limit}", f"--output.folder={tmp_path}",
          f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}")  # fmt: skip
    assert verdicts(tmp_path) == verdicts(run)[:limit]
    assert not (tmp_path / "records.parts").exists()


@pytest.mark.slow
def test_two_processes_attack_as_one_does(run, tmp_path):
    attack = [
        "attack", *BASE, "--attacking.attack=PGD", "--attacking.attack.bound=0.2",
        "--attacking.attack.steps=3", f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}",
    ]  # fmt: skip
    found = []
    for name, more in (
        ("one", ["--data.limit=9"]),
        ("two", ["--data.limit=9", "--trainer.devices=2", "--trainer.strategy=ddp"]),
    ):
        shell("-m", "lightning_smooth", *attack, *more, f"--output.folder={tmp_path / name}")
        outcomes = read_kind(tmp_path / name / "attack.jsonl", AttackOutcome).results
        found.append([(o.index, o.clean, o.predicted, o.queries) for o in outcomes])
    assert found[0] == found[1]
    assert [index for index, *_ in found[0]] == list(range(9))
    assert not (tmp_path / "two" / "attack.parts").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "limit"), [(2, 3), pytest.param(3, 2, marks=SLOW)])
def test_processes_that_share_draws_give_the_same_records(run, devices, limit, tmp_path):
    # one image more than is recorded already, and fewer images than processes
    for asked in (1, limit):
        shell("-m", "lightning_smooth", "certify", *BASE, f"--trainer.devices={devices}",
              "--trainer.strategy=ddp", f"--data.limit={asked}", f"--output.folder={tmp_path}",
              "--certification.shard=draws",
              f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}")  # fmt: skip
    assert verdicts(tmp_path) == verdicts(run)[:limit]


@SLOW
def test_more_processes_than_images_are_a_sentence(run, tmp_path):
    said = shell("-m", "lightning_smooth", "certify", *BASE, "--trainer.devices=2",
                 "--trainer.strategy=ddp", "--data.limit=1", f"--output.folder={tmp_path}",
                 status=2)  # fmt: skip
    assert "2 processes for 1 images" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_other_processes_go_on_with_the_records_of_one(run, tmp_path):
    ckpt = f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}"
    command = ["-m", "lightning_smooth", "certify", *BASE, ckpt, f"--output.folder={tmp_path}"]
    shell(*command, "--data.limit=9")
    shell(*command, "--data.limit=31", "--trainer.devices=2", "--trainer.strategy=ddp")
    assert verdicts(tmp_path) == verdicts(run)


@pytest.mark.slow
def test_a_rank_whose_launcher_was_killed_stops_and_the_records_go_on(run, tmp_path):
    ckpt = f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}"
    command = ["-m", "lightning_smooth", "certify", *BASE, ckpt, f"--output.folder={tmp_path}",
               "--data.limit=31", "--certification.certifier.n=4000"]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    ddp = ["--trainer.devices=2", "--trainer.strategy=ddp"]
    launcher = subprocess.Popen([sys.executable, *command, *ddp], cwd=ROOT, env=env,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    parts = tmp_path / "records.parts"
    wait(lambda: len(list(parts.glob("rank*.jsonl"))) == 2 or launcher.poll() is not None)
    launcher.kill()
    launcher.wait()
    wait(lambda: not locked(parts / "rank1.jsonl"))
    shell(*command)
    assert [c.index for c in verdicts(tmp_path)] == list(range(31))


def wait(condition, seconds=120):
    for _ in range(seconds * 20):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def locked(path):
    fcntl = pytest.importorskip("fcntl")
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


NOISE = """
import sys, torch, pytorch_lightning as pl
from lightning_smooth.data import Digits
from lightning_smooth.models import SmallConvNet
from lightning_smooth.modules import GaussianAugmentation

class Spy(GaussianAugmentation):
    def loss(self, images, labels, generator):
        noise = self.law.like(images, generator)
        first = float(noise[0, 0, 0, 0])
        with open(f"{sys.argv[1]}/rank{self.global_rank}.txt", "a") as file:
            file.write(f"{first}\\n")
        return super().loss(images, labels, generator)

if __name__ == "__main__":
    pl.seed_everything(0)
    trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False,
                         limit_train_batches=3, limit_val_batches=0, enable_checkpointing=False,
                         enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(Spy(SmallConvNet(image_size=8, padding=1), 0.25), datamodule=Digits())
"""


@pytest.mark.slow
def test_every_rank_step_and_epoch_draws_noise_of_its_own(tmp_path):
    # seed_everything gives the ranks one generator state: without care, one noise
    (tmp_path / "spy.py").write_text(NOISE)
    shell(str(tmp_path / "spy.py"), str(tmp_path))
    ranks = [(tmp_path / f"rank{rank}.txt").read_text().split() for rank in range(2)]
    assert [len(rank) for rank in ranks] == [6, 6]
    assert len({*ranks[0], *ranks[1]}) == 12


METRICS = """
import json, socket, sys
import torch.distributed as dist, torch.multiprocessing as mp
from lightning_smooth.metrics import AverageCertifiedRadius, CertifiedAccuracy
from lightning_smooth.records.certificate import Certificate

CERTIFICATES = [
    Certificate(index=i, label=1, candidate=1, predicted=1 if i < 6 else 0, radius=i / 10,
                radius_unit="l2", guarantee="certified", hits=1, n=1, n0=1, p_lower=0.5,
                alpha=0.1, ledger={}, method="m", parameters={}, seed=0, seconds=0.0)
    for i in range(7)
]

def work(rank, port, folder):
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    accuracy, acr = CertifiedAccuracy([0.0, 0.5]), AverageCertifiedRadius()
    for metric in (accuracy, acr):
        metric.update(CERTIFICATES[rank::2])
    with open(f"{folder}/rank{rank}.json", "w") as file:
        json.dump([accuracy.compute().tolist(), float(acr.compute())], file)
    dist.barrier()
    dist.destroy_process_group()

if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (port, sys.argv[1]), nprocs=2)
"""


@pytest.mark.slow
def test_metrics_gather_across_processes(tmp_path):
    (tmp_path / "gather.py").write_text(METRICS)
    shell(str(tmp_path / "gather.py"), str(tmp_path))
    # radii 0, .1, ..., .6 all right but the last: 6/7 at 0, 1/7 at .5, mean 1.5/7
    for rank in range(2):
        accuracy, acr = json.loads((tmp_path / f"rank{rank}.json").read_text())
        assert accuracy == pytest.approx([6 / 7, 1 / 7])
        assert acr == pytest.approx(1.5 / 7)
