"""Layers of a part that several processes compute together, each some of its images.

Such a part must come out as if one process had computed it: BN takes its statistics over all of
its images, and what drops at random is drawn for all of them. torch's own synchronised BN needs
GPUs; this one does not.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.core.processes import Team
from resnets.models.blocks import DropPath


def synchronise(model: nn.Module, sharing: Team) -> None:
    """Replace the layers of a network that look at a part as a whole; tensors and names stay.

    Args:
        model: Changed in place.
        sharing: The processes that compute a part together, each as many of its images.
    """
    if sharing.size == 1:
        return
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if type(layer) is nn.BatchNorm2d:
                setattr(parent, name, SharedBatchNorm(layer, sharing))
            elif type(layer) is nn.Dropout:
                setattr(parent, name, SharedDropout(layer.p, sharing))
            elif type(layer) is DropPath:
                setattr(parent, name, SharedDropPath(layer.probability, sharing))


def keep_from_compiling(model: nn.Module) -> None:
    """Leave to Python what is said to other processes, in a network that will be compiled."""
    for layer in model.modules():
        if isinstance(layer, SharedBatchNorm):
            layer.forward = torch.compiler.disable(layer.forward)  # type: ignore[method-assign]


class SharedBatchNorm(nn.BatchNorm2d):
    """BN over the images that several processes hold of one part. `x` is NCHW.

    Args:
        layer: The BN whose place it takes and whose tensors it has.
        sharing: The processes.

    Source: Ioffe, Szegedy 2015, sec. 3.1.
    """

    def __init__(self, layer: nn.BatchNorm2d, sharing: Team) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum, device="meta")
        for name, parameter in layer.named_parameters():
            setattr(self, name, parameter)
        for name, buffer in layer.named_buffers():
            setattr(self, name, buffer)
        self.train(layer.training)
        self.sharing = sharing

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        y, mean, variance = _SharedNorm.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.eps, self.sharing
        )
        self._move(mean, variance, numbers=self.sharing.size * x.numel() // x.shape[1])
        return y  # type: ignore[no-any-return]

    @torch.no_grad()
    def _move(self, mean: Tensor, variance: Tensor, numbers: int) -> None:
        """Move the running averages as torch's BN does: with the unbiased variance."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        weight = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance * numbers / (numbers - 1), weight)


class SharedDropout(nn.Module):
    """Dropout that draws for all images of a part and takes this process's own.

    Every process of the part has seeded torch's generator alike (`loop.updates`).

    Args:
        p: That a number becomes 0.
        sharing: The processes.
    """

    def __init__(self, p: float, sharing: Team) -> None:
        super().__init__()
        self.p = p
        self.sharing = sharing

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        whole = torch.ones_like(x).repeat(self.sharing.size, *[1] * (x.ndim - 1))
        return x * _own(F.dropout(whole, self.p), self.sharing)


class SharedDropPath(nn.Module):
    """Drop whole paths as `DropPath` does; drawn as by `SharedDropout`.

    Args:
        probability: Of dropping an image's path.
        sharing: The processes.
    """

    def __init__(self, probability: float, sharing: Team) -> None:
        super().__init__()
        self.drop = DropPath(probability)
        self.sharing = sharing

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * _own(self.drop(x.new_ones(len(x) * self.sharing.size, 1, 1, 1)), self.sharing)


class _SharedNorm(torch.autograd.Function):
    """BN's formula with statistics over all processes, forwards and backwards."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, sharing: Team
    ) -> tuple[Tensor, Tensor, Tensor]:
        variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
        each = sharing.gather(torch.stack([mean, variance]))
        means, variances = each[:, 0], each[:, 1]
        mean = means.mean(0)
        # Of equal groups: the variance within, and that of their means.
        variance = variances.mean(0) + (means - mean).square().mean(0)
        y = F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        ctx.sharing = sharing
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(
        ctx: Any, grad_y: Tensor, *others: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        grad = grad_y.float()
        normal = (x.float() - _per_channel(mean)) * _per_channel(inverse_std)
        grad_bias = grad.sum((0, 2, 3))
        grad_weight = (grad * normal).sum((0, 2, 3))
        sums = torch.stack([grad_bias, grad_weight])
        ctx.sharing.sum_([sums])
        of_bias, of_weight = sums / (ctx.sharing.size * x.numel() // x.shape[1])
        grad = grad - _per_channel(of_bias) - normal * _per_channel(of_weight)
        grad_x = (grad * _per_channel(weight * inverse_std)).to(x.dtype)
        return grad_x, grad_weight, grad_bias, None, None


def _own(of_all: Tensor, sharing: Team) -> Tensor:
    """Return this process's rows of a part's."""
    return of_all.tensor_split(sharing.size)[sharing.rank]


def _per_channel(values: Tensor) -> Tensor:
    return values[:, None, None]
