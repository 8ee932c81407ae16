"""Weights from elsewhere: every format that is read, every rule of names."""

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from lightning_smooth.errors import InputError
from lightning_smooth.models import (
    CifarResNet,
    Normalize,
    SmallConvNet,
    Standardized,
    TorchvisionModel,
    load_weights,
)
from lightning_smooth.models.foreign import match, split_normalization

from .foreign_files import (
    CENTRE,
    akamaster,
    bare,
    checkpoint,
    cohen,
    cohens_dict,
    prefixed,
    resnet,
    same_answers,
    saved,
    stir,
)

FORMS = {
    "state dict": bare,
    "Cohen, CIFAR": lambda m: cohens_dict(prefixed("1.", cohen(bare(m)))),
    "Cohen, DataParallel": lambda m: cohens_dict(prefixed("1.module.", cohen(bare(m)))),
    "Cohen, bare": lambda m: cohens_dict(cohen(bare(m))),
    "best_prec1": lambda m: {
        "state_dict": prefixed("module.", akamaster(bare(m))), "best_prec1": 91.7,
    },
    "linear": lambda m: {k.replace("fc.", "linear."): v for k, v in bare(m).items()},
    "classifier": lambda m: {k.replace("fc.", "classifier."): v for k, v in bare(m).items()},
    "head": lambda m: {k.replace("fc.", "head."): v for k, v in bare(m).items()},
    "compiled": lambda m: prefixed("_orig_mod.", bare(m)),
    "kuangliu": lambda m: {"net": prefixed("module.", akamaster(bare(m))), "acc": 95.0, "epoch": 9},
    "Lightning, with the normalisation": lambda m: checkpoint(m.state_dict()),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_network_that_it_was_saved_from(form, tmp_path):
    trained, model = resnet(1), resnet(2)
    assert not same_answers(trained, model)
    load_weights(model, saved(tmp_path, FORMS[form](trained)))
    assert same_answers(trained, model)


@pytest.mark.parametrize("names", [lambda s: s, lambda s: prefixed("1.", cohen(s))])
def test_safetensors(names, tmp_path):
    trained, model = resnet(1), resnet(2)
    load_weights(model, saved(tmp_path, names(bare(trained)), "w.safetensors"))
    assert same_answers(trained, model)


def test_files_of_torch_before_1_6(tmp_path):
    trained, model = resnet(1), resnet(2)
    torch.save(bare(trained), tmp_path / "w.th", _use_new_zipfile_serialization=False)
    load_weights(model, tmp_path / "w.th")
    assert same_answers(trained, model)


class OptionA(nn.Module):
    """ResNet-8 of He et al. 2016 with option A, written here a second time, under other names."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        for stage, (inputs, outputs) in enumerate([(16, 16), (16, 32), (32, 64)], start=1):
            block = nn.Module()
            block.conv1 = nn.Conv2d(inputs, outputs, 3, 1 + (stage > 1), padding=1, bias=False)
            block.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            block.bn1, block.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
            setattr(self, f"layer{stage}", nn.ModuleList([block]))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).clamp(min=0)
        for (block,) in (self.layer1, self.layer2, self.layer3):
            out = block.bn2(block.conv2(block.bn1(block.conv1(x)).clamp(min=0)))
            around = torch.zeros_like(out)
            kept = x[:, :, ::2, ::2] if x.shape[2] != out.shape[2] else x
            first = (out.shape[1] - kept.shape[1]) // 2
            around[:, first : first + kept.shape[1]] = kept
            x = (out + around).clamp(min=0)
        return self.linear(x.mean((2, 3)))


def test_shortcuts_without_weights_are_option_a(tmp_path):
    torch.manual_seed(3)
    other = OptionA().eval()
    stir(other)
    path = saved(tmp_path, {"state_dict": prefixed("module.", other.state_dict())})
    model = resnet(shortcut="pad")
    load_weights(model, path)
    image = torch.rand(4, 3, 32, 32) * torch.linspace(0.1, 1, 4).view(4, 1, 1, 1)
    shifted = image - torch.tensor(CENTRE["mean"]).view(3, 1, 1)
    with torch.no_grad():
        answers, others = model(image), other(shifted)
    assert torch.allclose(answers, others, atol=1e-5)
    assert answers.std(0).min() > 1e-3, "far above the tolerance"


@pytest.mark.parametrize(("name", "head"), [("resnet18", "fc"), ("mobilenet_v3_small", None)])
def test_torchvision_s_names(name, head, tmp_path):
    torch.manual_seed(0)
    own = torchvision.models.get_model(name, num_classes=7).eval()
    model = TorchvisionModel(name, 7, **CENTRE)
    load_weights(model, saved(tmp_path, prefixed("1.module.", own.state_dict())))
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        shifted = image - torch.tensor(CENTRE["mean"]).view(3, 1, 1)
        assert torch.allclose(model.eval()(image), own(shifted), atol=1e-5)
    if head:
        state = {k.replace(f"{head}.", "last_linear."): v for k, v in own.state_dict().items()}
        found = load_weights(model, saved(tmp_path, state))
        assert found.renamed == {"last_linear": head}


def test_every_torchvision_head_is_found():
    for name in ("resnet18", "vgg11", "densenet121", "squeezenet1_1", "vit_b_16", "convnext_tiny",
                 "efficientnet_b0", "swin_t", "shufflenet_v2_x0_5", "googlenet"):  # fmt: skip
        with torch.device("meta"):
            builder = torchvision.models.get_model_builder(name)
            extra = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
            state = builder(weights=None, num_classes=37, **extra).state_dict()
        head = match(state, state).head
        assert {state[n].shape[0] for n in head} == {37}, name
        assert {n.rsplit(".", 1)[1] for n in head} == {"weight", "bias"}, name


# What names do: rules that can be read, and nothing by shape.


def test_a_match_tells_what_it_did():
    own = bare(resnet())
    found = match(own, prefixed("1.module.", akamaster(cohen(own))))
    assert found.prefixes == "1.module."
    assert found.renamed == {"linear": "fc", "downsample": "shortcut"}
    assert not found.missing
    assert not found.exact
    assert found.taken["layer2.0.shortcut.0.weight"] == "1.module.layer2.0.downsample.0.weight"
    assert str(found).startswith(f"{len(found.taken)} tensors, '1.module.' taken off")
    assert match(own, own).exact


def test_equal_shapes_under_other_names_are_not_matched():
    own = {"first.weight": torch.zeros(4, 4), "second.weight": torch.zeros(4, 4)}
    stored = {"a.weight": torch.zeros(4, 4), "b.weight": torch.zeros(4, 4)}
    found = match(own, stored)
    assert not found.taken
    assert found.missing == ("first.weight", "second.weight")
    assert found.unexpected == ("a.weight", "b.weight")


def test_the_order_in_the_file_does_not_count(tmp_path):
    trained, model = resnet(1), resnet(2)
    state = dict(reversed(prefixed("1.", cohen(bare(trained))).items()))
    load_weights(model, saved(tmp_path, state))
    assert same_answers(trained, model)


def test_two_heads_in_question_are_none():
    own = {"conv.weight": torch.zeros(2, 2), "fc.weight": torch.zeros(3, 2)}
    two = {**own, "linear.weight": torch.ones(3, 2), "head.weight": torch.ones(3, 2)}
    assert match(own, two).unexpected == ("linear.weight", "head.weight")
    del two["fc.weight"]
    assert match(own, two).missing == ("fc.weight",)


def test_a_word_deeper_in_a_name_is_no_head():
    for own, other in (("block.fc.weight", "block.linear.weight"), ("head.0.bias", "fc.0.bias")):
        found = match({own: torch.zeros(2)}, {other: torch.zeros(2)})
        assert (found.missing, found.unexpected) == ((own,), (other,))


def test_a_prefix_comes_off_only_where_all_names_have_it():
    own = {"model.a": torch.zeros(1), "b": torch.zeros(1)}
    assert match(own, own).taken == {"model.a": "model.a", "b": "b"}
    assert match(own, {"a": torch.zeros(1), "b": torch.zeros(1)}).missing == ("model.a",)


# Normalisation: chosen, or in the file, or refused.


def test_a_file_without_normalisation_wants_one_chosen(tmp_path):
    path = saved(tmp_path, prefixed("1.", cohen(bare(resnet(1)))))
    for model in (
        CifarResNet(8),
        CifarResNet(8, mean=[0.5] * 3),
        CifarResNet(8, std=[1.0] * 3),
    ):
        before = {k: v.clone() for k, v in model.state_dict().items()}
        with pytest.raises(InputError, match=r"does not say which normalisation.*A std of 1 only"):
            load_weights(model, path)
        assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    with pytest.raises(InputError, match=r"The model has mean \[0\.4914, 0\.4822, 0\.4465\]"):
        load_weights(CifarResNet(8), path)


def test_normalise_centre_and_none_are_chosen_by_the_same_two_arguments(tmp_path):
    trained = resnet(1)
    path = saved(tmp_path, prefixed("1.", cohen(bare(trained))))
    image = torch.rand(3, 3, 32, 32)
    core = resnet(1, mean=[0.0] * 3, std=[1.0] * 3)
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor(0.2)
    for settings, seen in (
        ({"mean": [0.4, 0.5, 0.6], "std": [0.2] * 3}, (image - mean) / std),
        ({"mean": [0.4, 0.5, 0.6], "std": [1.0] * 3}, image - mean),
        ({"mean": [0.0] * 3, "std": [1.0] * 3}, image),
        ({"mean": None, "std": None}, image),
    ):
        model = CifarResNet(8, **settings)
        load_weights(model, path)
        with torch.no_grad():
            assert torch.allclose(model.eval()(image), core(seen), atol=1e-5)


def test_a_network_that_has_none_by_default_has_not_chosen(tmp_path):
    trained = SmallConvNet(image_size=16)
    renamed = {k.replace("head.5", "fc"): v for k, v in trained.state_dict().items()}

    class Named(SmallConvNet):  # the same network, its last layer under a name of the table
        def __init__(self, **settings):
            super().__init__(image_size=16, **settings)
            self.linear = self.head[5]
            self.head = self.head[:5]

        def forward(self, image):
            return self.linear(self.head(self.features(self.normalize(image))))

    path = saved(tmp_path, renamed)
    with pytest.raises(InputError, match=r"The model has none, which nobody chose"):
        load_weights(Named(), path)
    model = Named(mean=[0.0], std=[1.0])
    load_weights(model, path)
    assert same_answers(model, trained, (2, 1, 16, 16))


def test_a_file_of_this_very_network_needs_no_word(tmp_path):
    trained, model = SmallConvNet(image_size=16), SmallConvNet(image_size=16)
    for content in (trained.state_dict(), checkpoint(trained.state_dict())):
        model = SmallConvNet(image_size=16)
        load_weights(model, saved(tmp_path, content))
        assert same_answers(model, trained, (2, 1, 16, 16))


def test_a_plain_torchvision_network_has_no_place_for_a_normalisation(tmp_path):
    own = torchvision.models.resnet18(num_classes=3)
    path = saved(tmp_path, own.state_dict())
    with pytest.raises(InputError, match="does not say which normalisation"):
        load_weights(torchvision.models.resnet18(num_classes=3), path)
    model = nn.Sequential(Normalize(**CENTRE), torchvision.models.resnet18(num_classes=3))
    load_weights(model, path)
    assert torch.equal(model[1].fc.weight, own.fc.weight)


def test_a_file_s_own_normalisation_must_be_the_model_s(tmp_path):
    trained = resnet(1, mean=[0.1, 0.2, 0.3], std=[0.5, 0.5, 0.5])
    path = saved(tmp_path, checkpoint(trained.state_dict()))
    said = (
        r"trained with the normalisation mean \[0\.1, 0\.2, 0\.3\], std \[0\.5, 0\.5, 0\.5\], but"
    )
    with pytest.raises(InputError, match=rf"{said} the model has mean \[0\.4914"):
        load_weights(CifarResNet(8), path)
    with pytest.raises(InputError, match=f"{said} the model has none"):
        load_weights(CifarResNet(8, mean=None, std=None), path)
    default = CifarResNet(8)
    load_weights(default, saved(tmp_path, CifarResNet(8).state_dict()))


def test_the_normalisation_of_a_file_is_known_by_its_pair():
    mean = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
    rest, found = split_normalization(
        {"0.mean": mean, "0.std": 2 * mean, "1.bn.running_mean": mean}
    )
    assert list(rest) == ["1.bn.running_mean"]
    assert torch.equal(found[0], mean.flatten())
    assert torch.equal(found[1], 2 * mean.flatten())
    assert split_normalization({"0.mean": mean})[1] is None


# The head.


def test_a_head_of_another_size_is_new_only_where_that_is_asked_for(tmp_path):
    trained, model = resnet(1, classes=10), resnet(2, classes=7)
    path = saved(tmp_path, {"state_dict": prefixed("module.", akamaster(bare(trained)))})
    own = model.fc.weight.clone()
    with pytest.raises(InputError, match=r"fc\.weight is \(10, 64\) in the file, \(7, 64\) in the "
                       r"model.*Only the last layer differs: .*weights_head to new"):  # fmt: skip
        load_weights(model, path)
    load_weights(model, path, head="new")
    assert torch.equal(model.fc.weight, own)
    assert torch.equal(model.layer3[0].conv2.weight, trained.layer3[0].conv2.weight)
    with pytest.raises(InputError, match="'keep' or 'new', but got 'fresh'"):
        load_weights(model, path, head="fresh")


def test_a_new_head_is_new_also_where_the_file_s_would_fit(tmp_path):
    trained, model = resnet(1), resnet(2)
    own = model.fc.weight.clone()
    load_weights(model, saved(tmp_path, bare(trained)), head="new")
    assert torch.equal(model.fc.weight, own)


def test_a_new_head_forgives_nothing_else(tmp_path):
    path = saved(tmp_path, bare(resnet(1, depth=14)))
    with pytest.raises(InputError, match=r"unexpected \(layer1\.1\.conv1\.weight"):
        load_weights(resnet(2, depth=8), path, head="new")
    state = {k: v for k, v in bare(resnet(1)).items() if not k.startswith("fc.")}
    headless = saved(tmp_path, state)
    with pytest.raises(InputError, match=r"2 missing \(fc\.weight, fc\.bias\)"):
        load_weights(resnet(2), headless)
    load_weights(resnet(2), headless, head="new")


def test_standardized_networks_take_files_of_the_network_inside(tmp_path):
    model = Standardized(SmallConvNet(image_size=16))
    for network in (SmallConvNet(image_size=16), Standardized(SmallConvNet(image_size=16))):
        torch.save({"state_dict": network.state_dict()}, tmp_path / "file.pt")
        load_weights(model, tmp_path / "file.pt")
        inside = network.model if isinstance(network, Standardized) else network
        assert all(
            torch.equal(a, b)
            for a, b in zip(model.model.parameters(), inside.parameters(), strict=True)
        )


class Held(nn.Module):
    holds_network = True

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.model = SmallConvNet(1, 8, padding=1)
        self.register_buffer("bank", torch.zeros(3))


@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_file_of_all_of_a_holder_fills_what_is_around_the_network_too(tmp_path, prefix):
    saved = Held(1)
    saved.bank += 7
    path = tmp_path / "whole.safetensors"
    save_file({prefix + name: tensor for name, tensor in saved.state_dict().items()}, path)
    model = Held()
    load_weights(model, path)
    assert all(torch.equal(a, b) for a, b in zip(
        model.state_dict().values(), saved.state_dict().values(), strict=True
    ))  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_of_the_network_alone_leaves_what_is_around_it(tmp_path, prefix):
    saved = Held(1).model
    path = tmp_path / "inner.safetensors"
    save_file({prefix + name: tensor for name, tensor in saved.state_dict().items()}, path)
    model = Held()
    load_weights(model, path)
    assert torch.equal(model.model.head[1].weight, saved.head[1].weight)
    assert not model.bank.any()
