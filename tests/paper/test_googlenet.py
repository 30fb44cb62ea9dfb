"""Szegedy et al. 2014, Table 1, row by row, with its printed slips."""

import functools

import pytest
import torch
from torch import nn

from resnets.models import cost, making, zoo
from resnets.models.googlenet import Inception

# part of the network: its parameters in thousands of 1024 and operations in 1e6, as printed. The
# table counts weights without biases, and a multiplication and an addition as one operation.
PRINTED = {
    "conv1": (2.7, 34),
    "conv2_x": (112, 360),
    "3a": (159, 128),
    "3b": (380, 304),
    "4a": (364, 73),
    "4b": (437, 88),
    "4c": (463, 100),
    "4d": (580, 119),
    "4e": (840, 170),
    "5a": (1072, 54),
    "5b": (1388, 71),
    "head": (1000, 1),
}
# What the widths of the same rows give where the print differs from them: it has too few
# parameters for 4a to 4e and 5b while their operations are right (those of 4a cut off, not
# rounded); too much of both for 5a; and far too little of both for conv1, which has 7 * 7 * 3 * 64
# weights.
SLIPS = {
    "conv1": (9.2, 118),
    "4a": (367, 74),
    "4b": (438, 88),
    "4c": (497, 100),
    "4d": (590, 119),
    "4e": (847, 170),
    "5a": (1018, 51),
    "5b": (1409, 71),
}
# After each row: channels and side, as printed.
OUTPUT = {
    "conv1": (64, 112),
    "conv2_x": (192, 56),
    "3a": (256, 28),
    "3b": (480, 28),
    "4a": (512, 14),
    "4b": (512, 14),
    "4c": (512, 14),
    "4d": (528, 14),
    "4e": (832, 14),
    "5a": (832, 7),
    "5b": (1024, 7),
}
POOLED = {"conv2_x": (64, 56), "inception_3": (192, 28), "inception_4": (480, 14)}
POOLED |= {"inception_5": (832, 7)}


@functools.cache
def measured():
    return cost.measure(zoo.named("googlenet"))


@functools.cache
def network():
    with torch.device("meta"):
        return making.make(zoo.named("googlenet"))


def layers_of(part):
    """Return the layers of a row, by the part of their names that says it."""
    return [each for each in measured().layers if part in each.name.split(".")]


def test_parameters_of_the_path_that_classifies_are_exact():
    assert measured().parameters == 6_998_552
    assert {s.name: s.parameters for s in measured().stages} == {
        "conv1": 9_472,
        "conv2_x": 114_944,
        "inception_3": 552_432,
        "inception_4": 2_809_168,
        "inception_5": 2_487_536,
    }


def test_the_auxiliary_classifiers_come_on_top_while_training():
    # 1x1 convolution to 128, linear from 4x4 of them to 1024, linear to 1000.
    fixed = 2048 * 1024 + 1024 + 1024 * 1000 + 1000
    of_4a, of_4d = (c_in * 128 + 128 + fixed for c_in in (512, 528))
    auxiliary = network().auxiliary
    counts = {name: sum(p.numel() for p in made.parameters()) for name, made in auxiliary.items()}
    assert counts == {"4a": of_4a, "4d": of_4d}
    total = sum(p.numel() for p in network().parameters())
    assert total == 6_998_552 + of_4a + of_4d == 13_378_280


@pytest.mark.parametrize("part", PRINTED)
def test_a_row_has_the_parameters_and_operations_of_its_widths_and_of_the_table(part):
    layers = layers_of(part)
    weights = sum(
        module.weight.numel()
        for name, module in network().named_modules()
        if name in {each.name for each in layers} and isinstance(module, nn.Conv2d | nn.Linear)
    )
    operations = sum(each.multiply_adds for each in layers)
    thousands, millions = SLIPS.get(part, PRINTED[part])
    assert weights / 1024 == pytest.approx(thousands, abs=1 if thousands > 10 else 0.05)
    assert operations / 1e6 == pytest.approx(millions, abs=0.5)


def test_all_operations_are_about_the_1_5e9_the_paper_allows_itself():
    assert measured().multiply_adds == 1_582_671_872


def test_every_row_puts_out_the_size_of_the_table():
    with torch.device("meta"):
        x = torch.empty(1, 3, 224, 224)
    found = {}
    net = network().eval()
    for name, stage in net.stages.items():
        for part, module in stage.named_children():
            x = module(x)
            found[part if isinstance(module, Inception) else name] = tuple(x.shape[1:3])
    assert {row: found[row] for row in OUTPUT} == OUTPUT
    pools = [each for each in measured().layers if each.name.endswith("_x.pool")]
    pools += [each for each in measured().layers if each.name.count(".") == 2]
    between = {p.name.split(".")[1]: p for p in pools if p.name.endswith(".pool")}
    assert {stage: each.output_size[:2] for stage, each in between.items()} == POOLED
    assert {(each.kernel, each.stride) for each in between.values()} == {("3x3", 2)}


def test_it_is_22_layers_deep_counting_those_with_weights_on_the_longest_path():
    modules = [m for m in network().modules() if isinstance(m, Inception)]
    assert len(modules) == 9
    before = [m for name in ("conv1", "conv2_x") for m in network().stages[name]]
    longest = sum(isinstance(m, nn.Conv2d) for m in before) + 2 * len(modules) + 1
    assert longest == measured().depth == 22


def test_it_has_no_batch_normalisation_and_5x5_convolutions():
    kernels = {m.kernel_size for m in network().modules() if isinstance(m, nn.Conv2d)}
    assert kernels == {(7, 7), (5, 5), (3, 3), (1, 1)}
    assert not [m for m in network().modules() if isinstance(m, nn.BatchNorm2d)]
    assert sum(isinstance(m, nn.LocalResponseNorm) for m in network().modules()) == 2


def test_dropout_is_40_percent_and_70_in_the_auxiliary_classifiers():
    assert network().dropout.p == 0.4
    assert [made.dropout.p for made in network().auxiliary.values()] == [0.7, 0.7]
