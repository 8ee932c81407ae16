"""Files of weights that are refused: those that do not fit, those that run code, damaged ones."""

import os
import pickle

import pytest
import torch
import torchvision
from torch import nn

from lightning_smooth.errors import InputError
from lightning_smooth.models import load_weights, read_state_dict

from .foreign_files import bare, checkpoint, cohen, resnet, saved


def broken(**changes):
    return {**bare(resnet(1)), **changes}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {k: v for k, v in bare(resnet(1)).items() if not k.startswith("layer2.0.bn1.r")},
            r"2 missing \(layer2\.0\.bn1\.running_mean, layer2\.0\.bn1\.running_var\)",
        ),
        (broken(extra=torch.zeros(1)), r"1 unexpected \(extra\)"),
        (
            broken(**{"conv1.weight": torch.zeros(16, 1, 3, 3)}),
            r"conv1\.weight is \(16, 1, 3, 3\) in the file, \(16, 3, 3, 3\) in the model",
        ),
        (broken(**{"fc.bias": torch.zeros(10, dtype=torch.int64)}), r"fc\.bias is torch\.int64"),
        (broken(**{"fc.bias": torch.full((10,), float("nan"))}), "not finite.*damaged"),
        (bare(resnet(1, shortcut="pad")), r"10 missing .*and 4 more\).*shortcut to pad"),
        (torchvision.models.squeezenet1_1().state_dict(), "missing .*; .* unexpected .*renamed"),
    ],
    ids=["missing", "unexpected", "shape", "type", "nan", "shortcuts", "another network"],
)
def test_files_that_do_not_fit_are_refused_whole(content, words, tmp_path):
    model = resnet(2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(InputError, match=words):
        load_weights(model, saved(tmp_path, content))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_shortcuts_with_weights_have_their_own_advice(tmp_path):
    path = saved(tmp_path, cohen(bare(resnet(1))))
    with pytest.raises(InputError, match=r"unexpected \(layer2\.0\.downsample.*shortcut to conv"):
        load_weights(resnet(2, shortcut="pad"), path)


class Marker:
    """Pickles into a call that makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def pickled(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("save", [lambda p, c: torch.save(c, p), pickled], ids=["torch", "pickle"])
@pytest.mark.parametrize(
    "content",
    [
        lambda bad: bad,
        lambda bad: {"state_dict": bad},
        lambda bad: {**bare(resnet(1)), "fc.bias": bad},
        lambda bad: checkpoint(bare(resnet(1)), callback=bad),
    ],
    ids=["alone", "state dict", "one tensor", "hyperparameter"],
)
def test_code_in_a_file_is_never_run(content, save, tmp_path):
    path, marker = tmp_path / "evil.ckpt", tmp_path / "ran"
    save(path, content(Marker(marker)))
    with pytest.raises(InputError, match=r"evil\.ckpt cannot be read") as caught:
        load_weights(resnet(), path)
    assert not marker.exists()
    assert "code is never run" in str(caught.value)
    assert "False" not in str(caught.value), "torch's message advises to run it"


def test_the_marker_would_have_been_made(tmp_path):
    pickle.loads(pickle.dumps(Marker(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def test_a_pickled_module_is_refused_by_its_name(tmp_path):
    path = saved(tmp_path, nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"it holds torch\.nn\.modules\.linear\.Linear, which is"):
        read_state_dict(path)


@pytest.mark.parametrize(
    "stored",
    [
        {"_instantiator": "os.mkdir"},
        {"_class_path": "planted_module.Classifier"},
        {"_class_path": "lightning_smooth_not.Classifier"},
    ],
)
def test_a_stored_class_path_is_refused_and_not_imported(stored, tmp_path, monkeypatch):
    marker = tmp_path / "ran"
    for name in ("planted_module", "lightning_smooth_not"):
        (tmp_path / f"{name}.py").write_text(f"import os; os.mkdir({str(marker)!r})")
    monkeypatch.syspath_prepend(tmp_path)
    path = saved(tmp_path, checkpoint(bare(resnet(1)), **stored), "foreign.ckpt")
    with pytest.raises(InputError, match="names code to be imported and called") as caught:
        load_weights(resnet(2), path)
    assert next(iter(stored.values())) in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "legacy.th"])
@pytest.mark.parametrize("keep", [0, 5, 0.5, 0.999])
def test_files_that_are_cut_off_are_refused(name, keep, tmp_path):
    path = saved(tmp_path, bare(resnet(1)), name)
    if name == "legacy.th":
        torch.save(bare(resnet(1)), path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if keep >= 1 else int(keep * len(whole))])
    with pytest.raises(InputError, match=rf"{name} cannot be read as one \(.+\): save it again"):
        load_weights(resnet(2), path)


@pytest.mark.parametrize("content", [[1, 2], {}, {"state_dict": {"a": 1.0}}, {"epoch": 3}])
def test_files_without_weights(content, tmp_path):
    with pytest.raises(InputError, match=r"hold tensors by name|missing"):
        load_weights(resnet(), saved(tmp_path, content))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"to be a file, but .*gone\.pt does not exist"):
        load_weights(resnet(), tmp_path / "gone.pt")
