"""Processes that torchrun or SLURM start, on one node or two: the same records, whatever happens.

SLURM is played by its environment variables and two small programs, `srun` and `scontrol`, that
do what the manual says; the batch script and the processes are the real ones.
"""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from lightning_smooth.__main__ import main
from lightning_smooth.records.reading import read_records

ROOT = Path(__file__).parents[2]
SETTINGS = [
    "--config=configs/digits.yaml",
    "--data.batch_size=32",
    "--data.limit=31",
    "--trainer.max_epochs=5",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--certification.certifier.n=800",
    "--certification.val_images=0",
]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
VERB = ["-m", "lightning_smooth"]
TWO = ["--config=configs/trainer/torchrun.yaml", "--trainer.accelerator=cpu"]

pytestmark = pytest.mark.xdist_group("distributed")


def environment(**more):
    theirs = ("SLURM", "TORCHELASTIC", "LIGHTNING_SMOOTH_FOLDER", "MASTER_", "PL_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(theirs)}
    return {**env, "OMP_NUM_THREADS": "1", **more}


def start(command, **more):
    return subprocess.Popen(command, cwd=ROOT, env=environment(**more), text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip


def said(process, status=0):
    text, _ = process.communicate(timeout=200)
    assert process.returncode == status, text[-4000:]
    return " ".join(text.split())


def verdicts(folder):
    certificates = read_records(folder / "records.jsonl").certificates
    return [dataclasses.replace(c, seconds=0.0) for c in certificates]


def weights(folder):
    return read_records(folder / "records.jsonl").header["model"]


def wait(process, condition):
    for _ in range(3000):
        if process.poll() is not None or condition():
            return
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def free(least=20000):
    for port in range(least, least + 500):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port
    raise AssertionError("no port is free")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trained, certified and reported by a process on each of two nodes, in a folder of its id."""
    root = tmp_path_factory.mktemp("torchrun")
    here = ["--rdzv-id=mine", "--master-addr=127.0.0.1", f"--master-port={free()}"]
    nodes = [
        start([*TORCHRUN, *here, "--nnodes=2", f"--node-rank={node}", "--nproc-per-node=1",
               *VERB, "run", *SETTINGS, *TWO, f"--output.root={root}"])
        for node in range(2)
    ]  # fmt: skip
    for node in nodes:
        said(node)
    (folder,) = (root / "digits").iterdir()
    return folder


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """Verdicts of one process on the checkpoint of a run."""

    def certify(folder):
        monkeypatch.chdir(ROOT)
        monkeypatch.delenv("LIGHTNING_SMOOTH_FOLDER", raising=False)
        out = tmp_path / "alone"
        best = folder / "checkpoints" / "best.ckpt"
        assert main(["certify", *SETTINGS, f"--ckpt_path={best}", f"--output.folder={out}"]) == 0
        return verdicts(out)

    return certify


@pytest.mark.slow
def test_two_nodes_with_an_id_have_a_folder_and_the_records_of_one_process(run, alone):
    assert run.name.startswith("torchrun-mine-")
    assert (run / "report" / "index.html").exists()
    assert not list(run.glob(".*"))
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 4  # whichever epoch is the best
    assert verdicts(run) == alone(run)
    assert [c.index for c in verdicts(run)] == list(range(31))


ODD = """
import os, sys
from lightning_smooth.__main__ import main

if os.environ["RANK"] == "1":
    sys.argv.append("--model.sigma=0.5")
sys.exit(main())
"""


@pytest.mark.slow
def test_processes_with_other_settings_are_a_sentence_and_no_hang(tmp_path):
    (tmp_path / "odd.py").write_text(ODD)
    out = f"--output.folder={tmp_path / 'run'}"
    command = [*TORCHRUN, "--standalone", "--nproc-per-node=2", str(tmp_path / "odd.py"), "fit"]
    text = said(start([*command, *SETTINGS, *TWO, out]), status=1)
    assert "Process 1 and process 0 are not of one run: other settings." in text
    assert "model.init_args.sigma: 0.25 in process 0, 0.5 now" in text
    assert not list((tmp_path / "run").glob("checkpoints/*"))


@pytest.mark.slow
def test_a_killed_process_is_started_again_and_one_node_gives_what_two_gave(run, tmp_path):
    command = [*TORCHRUN, "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    command += [*VERB, "run", *SETTINGS, *TWO, f"--output.root={tmp_path}"]
    # else the new processes may read the addresses of those before (pytorch issue 135712)
    agent = start(command, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
    wait(agent, lambda: list(tmp_path.glob("digits/*/checkpoints/last.ckpt")))
    os.kill(children(agent.pid)[1], signal.SIGKILL)
    said(agent)
    (folder,) = (tmp_path / "digits").iterdir()
    assert weights(folder) == weights(run)
    assert verdicts(folder) == verdicts(run)


def children(parent):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], text=True,
                            capture_output=True, check=True)  # fmt: skip
    return [int(pid) for pid in listed.stdout.split()]


SRUN = """#!{python}
# Starts the tasks of a step, passes signals to all of their processes, returns the highest status.
import os, signal, subprocess, sys
command = [*sys.argv[1:]]
while command[0].startswith("-"):
    command.pop(0)
nodes, each = int(os.environ["SLURM_NNODES"]), int(os.environ["SLURM_NTASKS_PER_NODE"])
tasks = [
    subprocess.Popen(command, start_new_session=True, env={{
        **os.environ, "SLURM_NTASKS": str(nodes * each), "SLURM_STEP_ID": "0",
        "SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank // each),
        "SLURM_LOCALID": str(rank % each),
    }})
    for rank in range(nodes * each)
]

def forward(number, _):
    for task in tasks:
        if task.poll() is None:
            os.killpg(task.pid, number)

for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, forward)
codes = [task.wait() for task in tasks]
sys.exit(max(128 - code if code < 0 else code for code in codes))
"""

SCONTROL = """#!/bin/sh
echo "$@" >>{log}
echo "PreemptTime={preempted}"
"""


def cluster(folder, preempted="None"):
    """Return the environment of a batch job on two nodes, with srun and scontrol in `folder`."""
    folder.mkdir(exist_ok=True)
    for name, text in {
        "srun": SRUN.format(python=sys.executable),
        "scontrol": SCONTROL.format(log=folder / "asked", preempted=preempted),
    }.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {
        "PATH": path,
        "SLURM_JOB_ID": f"81{free(15000) - 15000:04d}",  # Lightning's port is made of its end
        "SLURM_JOB_NAME": "lightning-smooth",
        "SLURM_NNODES": "2",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_SUBMIT_DIR": str(ROOT),
    }


@pytest.mark.slow
def test_a_requeued_job_goes_on_in_its_folder_and_ends_as_if_never_stopped(run, tmp_path):
    job = cluster(tmp_path / "bin")
    runs, asked = tmp_path / "runs", tmp_path / "bin" / "asked"
    slurm = ["--config=configs/trainer/slurm.yaml", "--trainer.accelerator=cpu"]
    batch = ["bash", "scripts/slurm.sbatch", *SETTINGS, *slurm, f"--output.root={runs}"]
    batch += ["--data.num_workers=1"]  # SLURM's signal comes to a loader's processes as well

    training = start(batch, **job)
    wait(training, lambda: list(runs.glob("digits/*/checkpoints/last.ckpt")))
    os.kill(training.pid, signal.SIGUSR1)  # sbatch --signal=B:USR1: the time is nearly up
    assert "Stopped by SIGUSR1 in epoch" in said(training, status=128 + signal.SIGUSR1)
    assert asked.read_text() == f"requeue {job['SLURM_JOB_ID']}\n"
    (folder,) = (runs / "digits").iterdir()
    assert folder.name.startswith(f"slurm-{job['SLURM_JOB_ID']}-")
    assert not (folder / "summary.json").exists()

    certifying = start(batch, **job, SLURM_RESTART_COUNT="1")
    part = folder / "records.parts" / "rank1.jsonl"
    wait(certifying, lambda: part.exists() and part.read_bytes().count(b"\n") > 3)
    os.kill(certifying.pid, signal.SIGUSR1)
    text = said(certifying, status=128 + signal.SIGUSR1)
    assert "Training goes on from" in text
    assert "Stopped; this process recorded" in text
    assert part.exists()
    assert len(asked.read_text().splitlines()) == 2
    assert not list(folder.glob("hpc_ckpt*"))  # Lightning's, made inside the signal

    said(start(batch, **job, SLURM_RESTART_COUNT="2"))
    assert len(asked.read_text().splitlines()) == 2
    assert weights(folder) == weights(run)
    assert verdicts(folder) == verdicts(run)


FAILING = """#!/bin/sh
exit 3
"""


@pytest.mark.parametrize(("preempted", "queued"), [("None", 0), ("2026-01-01T00:00:00", 1)])
def test_a_job_that_fails_is_queued_again_only_if_it_was_preempted(preempted, queued, tmp_path):
    job = cluster(tmp_path, preempted)
    (tmp_path / "srun").write_text(FAILING)
    said(start(["bash", "scripts/slurm.sbatch"], **job), status=3)
    assert (tmp_path / "asked").read_text().count("requeue") == queued
