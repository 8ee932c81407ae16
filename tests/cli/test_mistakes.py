"""Every mistake a user makes at the command line: a sentence, exit status 2, no traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_smooth.__main__ import main

from .conftest import QUICK


def said(capfd, arguments):
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    captured = capfd.readouterr()
    assert status == 2
    assert "Traceback" not in captured.err
    return " ".join(captured.err.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], "there is no verb 'frobnicate'; the verbs are run, fit"),
        (["fit"], "Name an experiment"),
        (["fit", "--config=nope.yaml"], "File does not exist"),
        (["fit", *QUICK, "--model.sigmma=1"], "'sigmma' is not accepted"),
        (["fit", *QUICK, "--model.sigma=0"], "Expected `sigma` to be a finite number above 0"),
        (["certify", *QUICK, "--certification.certifier.sigma=-1"], "Expected `sigma`"),
        (["certify", *QUICK, "--certification.certifier.alpha=1"], "strictly between 0 and 1"),
        (["certify", *QUICK, "--certification.certifier.n=0"], "`n` to be an integer of at least"),
        (["certify", *QUICK, "--certification.certifier.n=many"], "Expected a <class 'int'>"),
        (["certify", *QUICK, "--certification.records=a/b.jsonl"], "Expected `records`"),
        (["certify", *QUICK, "--ckpt_path=/none.ckpt"], "There is no checkpoint /none.ckpt"),
        (["certify", *QUICK, "--ckpt_path=README.md"], "no checkpoint that can be loaded safely"),
        (["certify", *QUICK, "--trainer.precision=bf16-true"], "round the images"),
        (["certify", *QUICK, "--data.limit=0"], "Expected `limit`"),
        (["fit", *QUICK, "--model.model.num_classes=7"], "7 classes, but Digits has 10"),
        (["fit", *QUICK, "--model.model.image_size=28"], "does not take the images of Digits"),
        (["fit", *QUICK, "--trainer.accelerator=gpu", "--trainer.devices=99"], "gpu"),
        (["attack", *QUICK], "attack needs an attack: --config configs/attack/naive.yaml"),
        (["attack", *QUICK, "--attacking.attack=PGDD"], "no class PGDD: did you mean PGD?"),
        (["diagnose", *QUICK], "diagnose needs a test: --diagnosis.test"),
        (["fit", *QUICK, "--data=Mnist"], "There is no class Mnist: did you mean MNIST"),
        (["fit", *QUICK, "--data=Zzzzzzz"], "There is no class Zzzzzzz: give its import path"),
        (["report", "nowhere"], "nowhere"),
        (["data", "minst"], "mnist"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(arguments, words, capfd, tmp_path):
    if arguments[0] not in ("report", "data", "frobnicate") and len(arguments) > 1:
        arguments = [*arguments, f"--output.folder={tmp_path / 'out'}"]
    assert words in said(capfd, arguments)


def test_an_unknown_key_in_a_yaml_is_named(capfd, tmp_path):
    text = Path("configs/digits.yaml").read_text().replace("val_size:", "val_syze:")
    (tmp_path / "bad.yaml").write_text(text)
    answer = said(capfd, ["fit", f"--config={tmp_path / 'bad.yaml'}"])
    assert "'val_syze' is not accepted" in answer


@pytest.mark.parametrize("verb", ["fit", "certify"])
def test_an_output_folder_that_cannot_be_written(verb, capfd, tmp_path):
    (tmp_path / "file").write_text("")
    answer = said(capfd, [verb, *QUICK, f"--output.folder={tmp_path / 'file' / 'run'}"])
    assert "cannot be written" in answer
    assert "--output.folder" in answer


def test_missing_data_say_which_file_and_how_to_get_it(capfd, tmp_path):
    command = ["fit", "--config=configs/mnist.yaml", "--data.download=false"]
    answer = said(
        capfd, [*command, f"--data.root={tmp_path}", f"--output.folder={tmp_path / 'out'}"]
    )
    assert "train-images-idx3-ubyte" in answer
    assert f"lightning-smooth data mnist --root {tmp_path}" in answer


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--certification.certifier.sigma=0.5"], "certifier.sigma: 0.25 in the records, 0.5 now"),
        (["--certification.certifier.n=300"], "certifier.n: 200 in the records, 300 now"),
        (["--model.model.padding=2"], "model.architecture"),
        (["--data.skip=3", "--data.limit=2"], "not asked for now"),
    ],
)
def test_records_of_something_else_say_what_differs(change, words, capfd, checkpoint, tmp_path):
    command = ["certify", *QUICK, f"--output.folder={tmp_path}"]
    same = [*command, f"--ckpt_path={checkpoint}", "--data.limit=3"]
    assert main(same) == 0
    before = (tmp_path / "records.jsonl").read_bytes()
    capfd.readouterr()
    # padding changes the architecture, so that one is certified as it was built
    weights = [] if "padding" in change[0] else [f"--ckpt_path={checkpoint}"]
    answer = said(capfd, [*command, "--data.limit=3", *weights, *change])
    assert words in answer
    assert (tmp_path / "records.jsonl").read_bytes() == before


def test_training_in_a_folder_that_holds_one_is_refused(capfd, trained):
    again = [*QUICK, "--trainer.max_epochs=1", f"--output.folder={trained}"]
    assert "holds a training already" in said(capfd, ["fit", *again])
    answer = said(capfd, ["run", *again, "--model.sigma=0.5", "--data.batch_size=32"])
    assert "model.init_args.sigma: 0.25 in" in answer
    assert "data.init_args.batch_size: 64 in" in answer


def test_ranks_started_from_outside_need_a_folder(capfd, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert "give --output.folder" in said(capfd, ["fit", *QUICK])


def test_a_checkpoint_of_another_network_is_a_sentence(capfd, checkpoint, tmp_path):
    command = ["certify", *QUICK, f"--ckpt_path={checkpoint}", f"--output.folder={tmp_path}"]
    answer = said(capfd, [*command, "--model.model.padding=2"])
    assert "does not fit the model" in answer


def test_a_malicious_checkpoint_runs_nothing(capfd, tmp_path):
    import pickle

    class Bad:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps({"state_dict": Bad()}))
    command = ["certify", *QUICK, f"--ckpt_path={tmp_path / 'bad.ckpt'}"]
    answer = said(capfd, [*command, f"--output.folder={tmp_path / 'out'}"])
    assert "no checkpoint that can be loaded safely" in answer
    assert not (tmp_path / "ran").exists()


def test_a_torn_record_is_repaired_and_said(checkpoint, tmp_path):
    command = ["certify", *QUICK, f"--ckpt_path={checkpoint}", f"--output.folder={tmp_path}"]
    assert main([*command, "--data.limit=3"]) == 0
    path = tmp_path / "records.jsonl"
    whole = path.read_text()
    path.write_text(whole[:-40])
    with pytest.warns(UserWarning, match="was cut off"):
        assert main([*command, "--data.limit=3"]) == 0
    assert len(path.read_text().splitlines()) == 4


def test_the_installed_command_answers(tmp_path):
    command = os.path.join(os.path.dirname(sys.executable), "lightning-smooth")
    version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("lightning-smooth 0.")
    usage = subprocess.run([command], capture_output=True, text=True, check=True)
    assert "lightning-smooth run --config configs/digits.yaml" in usage.stdout
    wrong = subprocess.run([command, "nope"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2


@pytest.mark.parametrize("verb", ["run", "fit", "certify", "validate", "test", "predict"])
def test_help_of_every_trainer_verb_explains_certification(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "--certification.certifier" in text
    assert "--output.folder" in text


def test_help_of_the_certifier_states_units(capsys):
    with pytest.raises(SystemExit):
        main(["certify", "--certification.certifier.help=GaussianCertifier"])
    assert "in units of pixels in [0, 1]" in " ".join(capsys.readouterr().out.split())


def test_checkpoints_that_no_summary_names_are_not_passed_over(trained, capfd, tmp_path):
    shutil.copytree(trained / "checkpoints", tmp_path / "checkpoints")
    words = said(capfd, ["certify", *QUICK, f"--output.folder={tmp_path}"])
    assert "has checkpoints, best.ckpt, last.ckpt, but its summary.json does not say" in words
    assert not (tmp_path / "records.jsonl").exists()


def test_a_trial_leaves_nothing_that_a_training_would_go_on_from(tmp_path):
    folder = tmp_path / "trial"
    arguments = ["fit", *QUICK, "--trainer.fast_dev_run=true", f"--output.folder={folder}"]
    assert main(arguments) in (0, None)
    assert not list(folder.rglob("*.ckpt"))


def test_certificates_that_were_changed_are_not_summarised_as_certified(trained):
    arguments = ["certify", *QUICK, f"--output.folder={trained}", "--data.limit=2"]
    arguments += ["--certification.records=changed.jsonl"]
    assert main(arguments) in (0, None)
    file = trained / "changed.jsonl"
    header, *rows = [json.loads(line) for line in file.read_text().splitlines()]
    certified = next(row for row in rows if row["radius"] > 0)
    certified["radius"] *= 2
    file.write_text("".join(json.dumps(line) + "\n" for line in (header, *rows)))
    with pytest.warns(UserWarning, match="1 of 2 certificates claim more"):
        assert main(arguments) in (0, None)
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["certify changed"]["guarantee"] == "unknown"
