"""BatchNorm folded into the convolutions before it: the same function, in fewer steps."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lightning_smooth.models.stochastic import is_stochastic

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class _Tracer(fx.Tracer):
    """Follows the way of tensors through those modules alone that hold a BatchNorm."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is taken as one step: its own control flow is then no matter."""
        return isinstance(m, _NORMS) or not any(isinstance(inner, _NORMS) for inner in m.modules())


def folded(model: nn.Module, images: Tensor) -> nn.Module | None:
    """Return a copy of `model` for evaluation with its BatchNorms folded, if that can be done.

    A BatchNorm is folded where it alone reads what a convolution gives. The copy has the weights
    that the model has now, and answers as the model does up to float rounding, which is checked.

    Args:
        model: network in eval mode. It is left as it is.
        images: (B, C, H, W), random, to check on: zeros would hide what a layer does.

    Returns:
        The copy; None where there is nothing to fold, where the network's way depends on its
        input or on chance, or where the answers differ.
    """
    if not any(isinstance(module, _NORMS) for module in model.modules()) or _watched(model):
        return None
    if is_stochastic(model):  # what it draws outside of torch's operations would be drawn once
        return None
    try:
        fast = _fused(copy.deepcopy(model).eval())
        if fast is None:
            return None
        with torch.inference_mode():
            ours, theirs = fast(images), model(images)
        scale = float(theirs.abs().max()) if theirs.numel() else 0.0
        same = ours.shape == theirs.shape and torch.allclose(
            ours, theirs, rtol=0, atol=1e-3 * scale
        )
    except Exception:  # whatever cannot be copied, traced or compared runs as it is
        return None
    return fast if same else None


def _fused(replica: nn.Module) -> nn.Module | None:
    graph = _Tracer().trace(replica)
    modules = dict(replica.named_modules())
    pairs = [pair for node in graph.nodes if (pair := _pair(node, modules))]
    for convolution, norm in pairs:
        fused = fuse_conv_bn_eval(modules[str(convolution.target)], modules[str(norm.target)])
        _replace(replica, str(convolution.target), fused)
        norm.replace_all_uses_with(convolution)
        graph.erase_node(norm)
    return fx.GraphModule(replica, graph) if pairs else None


def _pair(node: fx.Node, modules: dict[str, nn.Module]) -> tuple[fx.Node, fx.Node] | None:
    """A convolution and the BatchNorm that alone reads it, if `node` is that BatchNorm."""
    norm = modules.get(str(node.target)) if node.op == "call_module" else None
    before = node.args[0] if node.args else None
    # A subclass may do something else: a parametrised layer is one, too.
    if norm is None or type(norm) not in _NORMS or not isinstance(before, fx.Node):
        return None
    convolution = modules.get(str(before.target)) if before.op == "call_module" else None
    used_once = len(before.users) == 1 and _calls(before) == _calls(node) == 1
    foldable = type(convolution) in _CONVOLUTIONS and norm.running_mean is not None
    return (before, node) if used_once and foldable and not _read(before) else None


def _calls(node: fx.Node) -> int:
    """How often the module of a node is called: one that is shared cannot be folded."""
    return sum(
        other.op == "call_module" and other.target == node.target for other in node.graph.nodes
    )


def _read(node: fx.Node) -> bool:
    """Whether weights of a node's module are read by themselves, too."""
    return any(
        other.op == "get_attr" and str(other.target).startswith(f"{node.target}.")
        for other in node.graph.nodes
    )


def _watched(model: nn.Module) -> bool:
    """Whether a module has hooks, which may change what it gives."""
    return any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def _replace(root: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, module)
