"""Which folder the processes of a command take, each by itself, and what of them is refused."""

import re
from pathlib import Path

import pytest
from jsonargparse import Namespace

from lightning_smooth.__main__ import main
from lightning_smooth.errors import InputError
from lightning_smooth.folders import settle_folder
from lightning_smooth.launch import Launch, OneRun, essence, launched, restarted

from .conftest import QUICK

CONFIG = """
seed_everything: 0
output: {experiment: mnist, root: runs, folder: null}
trainer: {devices: 1, num_nodes: 1, max_epochs: 3}
data: {class_path: MNIST, init_args: {root: data, limit: 5, num_workers: 0}}
model: {init_args: {sigma: 0.25}}
"""
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "smooth",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "2",
    "SLURM_STEP_ID": "0",
}
TORCHRUN = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1", "RANK": "0"}


@pytest.fixture(autouse=True)
def set_only(monkeypatch):
    """Clear what launchers set, and return a function that sets some of it."""
    import os

    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name in TORCHRUN:
            monkeypatch.delenv(name)
    # set, so that what settle_folder writes is undone
    monkeypatch.setenv("LIGHTNING_SMOOTH_FOLDER", "")

    def put(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


def settings(ckpt_path=None, folder=None, num_nodes=1):
    return Namespace(
        output=Namespace(experiment="mnist", root="runs", folder=folder),
        trainer=Namespace(num_nodes=num_nodes),
        ckpt_path=ckpt_path,
    )


def settle(config=CONFIG, verb="run", **given):
    return settle_folder(settings(**given), verb, config)


def test_a_plain_command_has_a_new_folder_and_its_children_inherit_it(set_only):
    folder = settle()
    assert re.fullmatch(r"runs/mnist/\d{8}-\d{6}", str(folder))
    set_only(LOCAL_RANK="1")
    assert settle() == folder


def test_a_job_of_slurm_keeps_its_folder_on_every_rank_and_after_a_requeue(set_only):
    set_only(**SLURM, SLURM_PROCID="0")
    folder = settle()
    assert re.fullmatch(r"runs/mnist/slurm-4711-[0-9a-f]{8}", str(folder))
    set_only(SLURM_PROCID="3", SLURM_RESTART_COUNT="1")
    moved = CONFIG.replace("root: data", "root: /scratch").replace("devices: 1", "devices: 4")
    assert settle(moved) == settle(verb="fit") == folder
    assert settle(folder="runs/mine") == Path("runs/mine")


def test_commands_with_other_settings_in_one_job_have_folders_of_their_own(set_only):
    set_only(**SLURM)
    changes = [("sigma: 0.25", "sigma: 0.5"), ("limit: 5", "limit: 6"), ("epochs: 3", "epochs: 4")]
    folders = {settle(CONFIG.replace(*change)) for change in changes}
    assert len({*folders, settle(), settle(ckpt_path="some.ckpt")}) == 5


def test_tasks_of_a_job_array_have_folders_of_their_own(set_only):
    set_only(**SLURM, SLURM_ARRAY_JOB_ID="4700", SLURM_ARRAY_TASK_ID="11")
    assert settle().name.startswith("slurm-4700_11-")


def test_a_job_without_srun_has_the_job_s_folder_and_a_shell_in_one_has_not(set_only):
    set_only(SLURM_JOB_ID="4711", SLURM_JOB_NAME="smooth")
    assert settle().name.startswith("slurm-4711-")
    set_only(SLURM_JOB_NAME="interactive")
    assert re.fullmatch(r"\d{8}-\d{6}(-\d+)?", settle().name)


def test_torchrun_has_the_folder_of_its_id(set_only):
    set_only(**TORCHRUN, TORCHELASTIC_RUN_ID="mine")
    assert re.fullmatch(r"runs/mnist/torchrun-mine-[0-9a-f]{8}", str(settle()))
    set_only(**SLURM)
    assert settle().name.startswith("slurm-4711-")


@pytest.mark.parametrize(
    "outside",
    [
        {**TORCHRUN, "TORCHELASTIC_RUN_ID": "none"},
        {**TORCHRUN, "TORCHELASTIC_RUN_ID": "../mine"},
        TORCHRUN,
        {"OMPI_COMM_WORLD_SIZE": "2"},
        {"PMI_SIZE": "2"},
    ],
)
def test_without_a_name_that_all_know_a_folder_is_asked_for(outside, set_only):
    set_only(**outside)
    with pytest.raises(InputError, match=r"give --output\.folder"):
        settle()
    assert settle(folder="runs/mine") == Path("runs/mine")


def test_nodes_started_by_hand_need_a_folder():
    with pytest.raises(InputError, match=r"give --output\.folder"):
        settle(num_nodes=2)


def test_other_verbs_need_no_name(set_only):
    set_only(**TORCHRUN, TORCHELASTIC_RUN_ID="none")
    assert settle(verb="certify") == Path("runs/mnist/certify")


def test_what_a_launcher_started_is_read_from_its_variables(set_only):
    assert launched() is None
    set_only(**SLURM)
    assert launched() == Launch("srun", processes=4, nodes=2)
    set_only(**TORCHRUN, TORCHELASTIC_RUN_ID="none")  # inside a job it is torchrun that counts
    assert launched() == Launch("torchrun", processes=2, nodes=1)


@pytest.mark.parametrize(
    ("missing", "words"),
    [("SLURM_STEP_ID", "start the command with srun"), ("SLURM_NTASKS_PER_NODE", "ntasks-per")],
)
def test_tasks_that_would_not_find_each_other_are_refused(missing, words, set_only):
    set_only(**{name: value for name, value in SLURM.items() if name != missing})
    with pytest.raises(InputError, match=words):
        launched()


def test_tasks_that_lightning_takes_for_runs_of_their_own_are_refused(set_only):
    set_only(**{**SLURM, "SLURM_JOB_NAME": "interactive"}, SLURM_PROCID="0")
    assert launched() is None
    set_only(SLURM_PROCID="1")
    with pytest.raises(InputError, match="set SLURM_JOB_NAME to another name"):
        launched()


@pytest.mark.parametrize("name", ["SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"])
def test_a_restart_is_told_by_its_count(name, set_only):
    set_only(**{name: "0"})
    assert not restarted()
    set_only(**{name: "1"})
    assert restarted()


def difference(first, other, folder, checkpoints=(), mark=".shared"):
    return OneRun(folder, other)._difference(essence(first), folder / mark, list(checkpoints))


def test_processes_of_one_run_agree(tmp_path):
    (tmp_path / ".shared").touch()
    moved = CONFIG.replace("root: data", "root: /scratch").replace("num_nodes: 1", "num_nodes: 2")
    assert difference(CONFIG, moved, tmp_path) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("seed_everything: 0", "seed_everything: 1"), "seed_everything: 0 in process 0, 1 now"),
        (("sigma: 0.25", "sigma: 1.0"), "model.init_args.sigma: 0.25 in process 0, 1.0 now"),
        (("max_epochs: 3", "max_epochs: 4"), "trainer.max_epochs: 3 in process 0, 4 now"),
    ],
)
def test_processes_with_other_settings_are_told_which(change, words, tmp_path):
    (tmp_path / ".shared").touch()
    assert words in difference(CONFIG, CONFIG.replace(*change), tmp_path)


def test_processes_in_other_folders_or_file_systems_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert "does not see what process 0 wrote" in difference(CONFIG, CONFIG, tmp_path)
    said = OneRun(tmp_path, CONFIG)._difference(essence(CONFIG), Path("/elsewhere/.shared"), [])
    assert f"the folder /elsewhere there, {tmp_path} here" in said
    (tmp_path / ".shared").touch()
    said = difference(CONFIG, CONFIG, tmp_path, checkpoints=["last.ckpt"])
    assert "the checkpoints ['last.ckpt'] there, [] here" in said


def refused(capfd, *arguments):
    assert main(["fit", *QUICK, *arguments]) == 2
    return " ".join(capfd.readouterr().err.split())


def test_a_trainer_of_fewer_processes_than_were_started_is_refused(capfd, set_only, tmp_path):
    # it would run by itself in each of them, all in one folder
    set_only(**TORCHRUN, TORCHELASTIC_RUN_ID="mine")
    text = refused(capfd, f"--output.folder={tmp_path}")
    assert "torchrun started 2 processes on 1 nodes, but the trainer has devices 1" in text
    assert "--trainer.devices auto" in text
    set_only(GROUP_WORLD_SIZE="2", WORLD_SIZE="3")
    assert "started 3 processes on 2 nodes" in refused(
        capfd, "--trainer.devices=auto", f"--output.folder={tmp_path}"
    )


def test_a_restarted_fit_goes_on_from_its_last_checkpoint(trained, set_only, capfd, tmp_path):
    import shutil

    folder = shutil.copytree(trained, tmp_path / "run")
    again = ["--trainer.max_epochs=3", f"--output.folder={folder}"]
    assert "holds a training already" in refused(capfd, *again)
    set_only(SLURM_RESTART_COUNT="1")
    assert main(["fit", *QUICK, *again]) == 0
    assert '"epochs": 3' in (folder / "summary.json").read_text()
