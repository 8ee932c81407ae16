"""Networks, and the files that other projects would save them in."""

import torch
from safetensors.torch import save_file
from torch import nn

from lightning_smooth.models import CifarResNet

CENTRE = {"mean": [0.4, 0.5, 0.6], "std": [1.0, 1.0, 1.0]}


def resnet(seed=0, depth=8, classes=10, **settings):
    """A network with weights and running statistics that no other seed gives."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CifarResNet(depth, classes, **{**CENTRE, **settings}).eval()
        stir(model)
    return model


def stir(model):
    """Give BatchNorm statistics of its own, under which answers still depend on the image."""
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)


def bare(model):
    """Its state without the normalisation: what a foreign file has."""
    return {k: v for k, v in model.state_dict().items() if not k.startswith("normalize.")}


def cohen(state):
    return {k.replace("shortcut", "downsample"): v for k, v in state.items()}


def akamaster(state):
    return {
        k.replace("fc.", "linear."): v for k, v in state.items() if "num_batches_tracked" not in k
    }


def prefixed(prefix, state):
    return {prefix + k: v for k, v in state.items()}


def cohens_dict(state):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=0.1, momentum=0.9)
    return {"epoch": 90, "arch": "cifar_resnet20", "state_dict": state,
            "optimizer": optimizer.state_dict()}  # fmt: skip


def checkpoint(state, **hyper_parameters):
    return {
        "epoch": 3, "global_step": 9, "pytorch-lightning_version": "2.6.6",
        "state_dict": prefixed("model.", state), "loops": {}, "callbacks": {},
        "optimizer_states": [], "lr_schedulers": [], "hparams_name": "kwargs",
        "hyper_parameters": {
            "_class_path": "lightning_smooth.modules.GaussianAugmentation",
            "_instantiator": "pytorch_lightning.cli.instantiate_module",
            "sigma": 0.25, **hyper_parameters,
        },
    }  # fmt: skip


def saved(tmp_path, content, name="weights.pt"):
    path = tmp_path / name
    if name.endswith(".safetensors"):
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


def same_answers(one, two, shape=(4, 3, 32, 32)):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        answers, others = one.eval()(image), two.eval()(image)
    assert answers.std(0).min() > 0, "answers that do not depend on the image tell nothing"
    return torch.equal(answers, others)
