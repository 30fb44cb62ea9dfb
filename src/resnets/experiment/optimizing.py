"""A recipe's optimizer, its rate, and the average that it keeps of the network."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from resnets.core.processes import Team
from resnets.detection.faster_rcnn import FasterRCNN
from resnets.detection.localizer import Localizer
from resnets.models.making import Network
from resnets.recipes.boxes import BoxRecipe
from resnets.recipes.optimizers import AdamWSpec, LambSpec, SgdSpec
from resnets.recipes.schedule import Plateau
from resnets.recipes.schema import EmaSpec, Recipe, Transfer
from resnets.training import decay, synchronised
from resnets.training.ema import MovingAverage
from resnets.training.lamb import Lamb


def optimizer(
    recipe: Recipe | BoxRecipe, model: Network | FasterRCNN | Localizer
) -> torch.optim.Optimizer:
    """Return a recipe's optimizer of a model's parameters."""
    optim = recipe.optim
    groups = decay.parameter_groups(model, optim.weight_decay, optim.decay_on)
    began = recipe.transfer
    if isinstance(began, Transfer) and began.head_rate_factor != 1:
        assert not isinstance(model, FasterRCNN | Localizer)
        groups = _apart(groups, model.head, began.head_rate_factor)
    # With a scaler the fused step may be skipped while torch counts its first as done, which
    # leaves the momentum uninitialised.
    fused = recipe.precision != "float16"
    match optim:
        case SgdSpec():
            return torch.optim.SGD(
                groups,
                lr=optim.learning_rate,
                momentum=optim.momentum,
                nesterov=optim.nesterov,
                fused=fused,
            )
        case LambSpec():
            betas = (optim.beta1, optim.beta2)
            return Lamb(groups, lr=optim.learning_rate, betas=betas, eps=optim.eps)
        case AdamWSpec():
            betas = (optim.beta1, optim.beta2)
            return torch.optim.AdamW(
                groups, lr=optim.learning_rate, betas=betas, eps=optim.eps, fused=fused
            )


def _apart(
    groups: Sequence[dict[str, Any]], layer: nn.Module, rate_factor: float
) -> list[dict[str, Any]]:
    """Return the groups of parameters, a layer's in groups of their own with a rate of its own."""
    of_layer = {id(parameter) for parameter in layer.parameters()}
    return [
        {**group, "params": chosen, "rate_factor": rate_factor if inside else 1.0}
        for group in groups
        for inside in (False, True)
        if (chosen := [p for p in group["params"] if (id(p) in of_layer) is inside])
    ]


def moving_average(
    ema: EmaSpec | None,
    model: nn.Module,
    make: Callable[[], nn.Module],
    device: torch.device,
    sharing: Team,
) -> MovingAverage | None:
    """Return what keeps a model's average, if one is kept.

    Args:
        ema: How; None for not at all.
        model: What is averaged.
        make: Makes another: not a copy, which would take the processes along.
        device: Where.
        sharing: See `Division`.
    """
    if ema is None:
        return None
    network = make()
    synchronised.synchronise(network, sharing)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return MovingAverage(model, network, ema.decay, ema.every_steps, ema.copied_steps)


def rate(recipe: Recipe | BoxRecipe, number: int, errors_percent: Sequence[float] = ()) -> float:
    """Return a recipe's rate for an update number; see `RateOf`."""
    schedule = recipe.schedule
    if isinstance(schedule, Plateau):
        scale = schedule.warm_up(number - 1) * schedule.scale_after(errors_percent)
    else:
        scale = schedule.scale(number - 1, recipe.total_steps)
    return recipe.optim.learning_rate * scale
