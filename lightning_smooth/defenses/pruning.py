"""Stochastic activation pruning: small activations are dropped at random, the rest made larger.

Source: Dhillon, Azizzadenesheli, Lipton, Bernstein, Kossaifi, Khanna, Anandkumar 2018; Athalye,
Carlini, Wagner 2018 (THEORY section 10).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from lightning_smooth.errors import InputError, check_positive
from lightning_smooth.models.normalize import Normalize


class StochasticActivationPruning(nn.Module):
    """Keep an activation a with the probability that N draws by magnitude would meet it.

    For each example by itself: of n activations, p = |a| / sum |a|, N = fraction n, and a is kept
    with probability q = 1 - (1 - p)^N, each independently of the others, and becomes a / q; else 0.
    So the mean is a, and the variance a^2 (1 / q - 1). The paper draws N times with replacement and
    keeps what is met, which has the same q and weak dependence between activations; Athalye et al.
    take q = 1 - exp(-N p), which differs by at most N p^2 / 2.

    Keeps shape and dtype. The gradient goes through kept activations alone, where it is 1 / q: q is
    held fixed on the way back, so that its mean over draws is that of the mean, 1.

    Args:
        fraction: draws per activation: 1 as published; Athalye et al. use 2.

    Raises:
        InputError: `fraction` is not a finite number above 0.

    >>> StochasticActivationPruning()(torch.tensor([[0.0, 3.0, 0.0]]))
    tensor([[0., 3., 0.]])
    """

    stochastic = True

    def __init__(self, fraction: float = 1.0) -> None:
        super().__init__()
        self.fraction = check_positive("fraction", fraction)

    def extra_repr(self) -> str:
        """Show the fraction in the model's repr."""
        return f"fraction={self.fraction:g}"

    def forward(self, activations: Tensor) -> Tensor:
        """Prune activations (B, ...)."""
        with torch.no_grad():
            kept = self.keeping(activations)
            drawn = torch.rand_like(kept) < kept
            scale = torch.where(drawn, 1 / kept, 0.0)
        return activations * scale

    def keeping(self, activations: Tensor) -> Tensor:
        """Probability (B, ...) that each of the activations (B, ...) is kept."""
        sizes = activations.detach().flatten(1).abs()
        share = sizes / sizes.sum(dim=1, keepdim=True).clamp_min(torch.finfo(sizes.dtype).tiny)
        draws = self.fraction * sizes.shape[1]
        # A share of 1 is kept surely: log1p gives -inf. Rounding may bring it above 1.
        return -torch.expm1(draws * torch.log1p(-share.clamp(max=1))).view_as(activations)


def pruned(model: nn.Module, fraction: float = 1.0) -> nn.Module:
    """Copy a network, with stochastic activation pruning after each ReLU.

    ReLUs are found whether they are modules or functions in a forward pass (`torch.fx`). What the
    network holds keeps its names, so its weights fit; the layers are named pruning_1, pruning_2,
    ..., in the order in which they run. As a class path, `lightning_smooth.defenses.pruned` builds
    one from a file.

    Args:
        model: a network whose forward pass does not depend on values: the convolutional and
            residual ones of `models`, timm's and torchvision's. Of a network in a wrapper such as
            `Defended` or `models.Vignetted`, prune the one inside.
        fraction: see `StochasticActivationPruning`.

    Returns:
        The copy, in the mode of `model`.

    Raises:
        InputError: the forward pass cannot be traced, there is no ReLU in it, or `fraction` is not
            above 0.
    """
    check_positive("fraction", fraction)
    model = copy.deepcopy(model)
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except Exception as error:  # whatever a forward pass stumbles over when it is given no values
        raise InputError(
            f"Expected `model` to be a network that torch.fx can trace, but {type(model).__name__} "
            f"is not ({' '.join(str(error).split())}): prune the network inside it, or put "
            "StochasticActivationPruning after each of its ReLUs."
        ) from error
    network = fx.GraphModule(model, graph, class_name=type(model).__name__)
    found = [node for node in graph.nodes if _is_relu(node, network)]
    if not found:
        raise InputError(f"Expected `model` to have ReLUs, but {type(model).__name__} has none.")
    for number, node in enumerate(found, start=1):
        name = f"pruning_{number}"
        network.add_submodule(name, StochasticActivationPruning(fraction))
        with graph.inserting_after(node):
            layer = graph.call_module(name)
        node.replace_all_uses_with(layer)
        layer.args = (node,)
    network.recompile()
    return network.train(model.training)


class _Tracer(fx.Tracer):
    """Takes a normalisation for one step: its check of shapes cannot be traced."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Normalize) or super().is_leaf_module(m, module_qualified_name)


_RELUS = {functional.relu, functional.relu_, torch.relu, torch.relu_, "relu", "relu_"}


def _is_relu(node: fx.Node, network: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(network.get_submodule(str(node.target)), nn.ReLU)
    return node.op in ("call_function", "call_method") and node.target in _RELUS
