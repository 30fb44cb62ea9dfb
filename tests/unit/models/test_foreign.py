import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnets.core.errors import CheckpointError, ModelError
from resnets.models import foreign, making, zoo
from resnets.models.spec import ResNetSpec, StageSpec, StemSpec, VggSpec

LARGE = StemSpec(kernel=7, width=8, stride=2, pool=True)
SMALL = StemSpec(kernel=3, width=8, stride=1, pool=False)


def tiny(stem=LARGE, block="basic", shortcut="B", blocks=(2, 1), stride_on="1x1"):
    """A network of few channels, whose names are those of the large ones."""
    return ResNetSpec(
        stem=stem,
        block=block,
        stages=tuple(
            StageSpec(blocks=count, width=8 * 2**i, stride=1 if i == 0 else 2)
            for i, count in enumerate(blocks)
        ),
        shortcut=shortcut,
        classes=5,
        stride_on=stride_on,
    )


def drawn(module, seed=0):
    """Return the module ready to evaluate, everything in it at random, BN's statistics too."""
    draw = torch.Generator().manual_seed(seed)
    for each in module.modules():
        if isinstance(each, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(each.weight, generator=draw)
        if isinstance(each, nn.Linear):
            each.bias.data.normal_(generator=draw)
        if isinstance(each, nn.BatchNorm2d):
            each.weight.data.uniform_(0.5, 1, generator=draw)
            each.bias.data.normal_(0, 0.3, generator=draw)
            each.running_mean.normal_(0, 0.3, generator=draw)
            each.running_var.uniform_(0.5, 2, generator=draw)
            each.num_batches_tracked.fill_(7)
    return module.eval()


def theirs_of(naming="torchvision", spec=None):
    spec = tiny() if spec is None else spec
    return foreign.to_theirs(drawn(making.make(spec)).state_dict(), naming, spec)


def on_meta(spec):
    with torch.device("meta"):
        return making.make(spec).state_dict()


def refusal(tensors, error=CheckpointError):
    def convert():
        found = foreign.recognise(tensors)
        foreign.to_ours(tensors, found.naming, found.spec)

    with pytest.raises(error) as caught:
        convert()
    assert "\n" not in str(caught.value)
    return str(caught.value)


EXPORTED = {
    "basic": ("torchvision", tiny()),
    "v1.5": ("torchvision", tiny(block="bottleneck", stride_on="3x3")),
    "one stage": ("torchvision", tiny(blocks=(3,))),
    "option A": ("cifar", tiny(SMALL, shortcut="A", blocks=(2, 1, 2))),
    "option B": ("cifar", tiny(SMALL, blocks=(1, 2))),
    "kuangliu's bottlenecks": ("cifar", tiny(SMALL, block="bottleneck", stride_on="3x3")),
}


@pytest.mark.parametrize("case", EXPORTED)
def test_names_lead_there_and_back_to_the_same_bits(case):
    naming, spec = EXPORTED[case]
    ours = drawn(making.make(spec)).state_dict()
    theirs = foreign.to_theirs(ours, naming, spec)
    assert len(theirs) == len(ours)
    found = foreign.recognise(theirs)
    assert (found.naming, found.spec.stem, found.spec.stages) == (naming, spec.stem, spec.stages)
    assert found.certain is (case != "v1.5")
    back = foreign.to_ours(theirs, naming, spec)
    assert list(back) == list(ours)
    assert all(torch.equal(back[name], ours[name]) for name in ours)
    assert all(tensor.is_contiguous() for tensor in back.values())


@pytest.mark.parametrize("name", [name for name in zoo.NAMES if name != "cifar-resnet1202"])
def test_every_network_is_exported_and_recognised_again_or_refused(name):
    spec = zoo.named(name)
    naming = "cifar" if isinstance(spec, ResNetSpec) and not spec.stem.pool else "torchvision"
    ours = on_meta(spec)
    options = ("A", "B") if naming == "cifar" else ("B",)
    if not isinstance(spec, VggSpec) and getattr(spec, "shortcut", None) not in options:
        with pytest.raises(ModelError, match=f"{naming} has no "):
            foreign.to_theirs(ours, naming, spec)
        return
    theirs = foreign.to_theirs(ours, naming, spec)
    found = foreign.recognise(theirs)
    expected = spec
    if not found.certain:
        expected = replace(spec, stride_on=found.spec.stride_on)
    assert (found.naming, found.spec) == (naming, zoo.comparable(expected))
    back = foreign.to_ours(theirs, naming, spec)
    assert {name: t.shape for name, t in back.items()} == {
        name: t.shape for name, t in ours.items()
    }


def test_option_a_of_bottlenecks_has_no_place_elsewhere():
    spec = tiny(SMALL, block="bottleneck", shortcut="A")
    with pytest.raises(ModelError, match="no network of bottlenecks"):
        foreign.to_theirs(drawn(making.make(spec)).state_dict(), "cifar", spec)


# --- Option A as akamaster's repository has it, in a few lines of its own.


class Block(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.either_side = (c_out - c_in) // 2
        self.stride = stride

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        carried = x[:, :, :: self.stride, :: self.stride]
        padding = (0, 0, 0, 0, self.either_side, self.either_side)
        return F.relu(y + F.pad(carried, padding))


class Akamaster(nn.Module):
    def __init__(self, depth):
        super().__init__()
        n = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        c_in = 16
        for stage, width in enumerate((16, 32, 64), start=1):
            blocks = []
            for i in range(n):
                blocks.append(Block(c_in, width, 2 if i == 0 and stage > 1 else 1))
                c_in = width
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


@pytest.mark.parametrize("depth", [8, 20])
def test_option_a_padded_on_either_side_gives_the_same_logits_here(depth):
    judge = drawn(Akamaster(depth), seed=depth)
    theirs = judge.state_dict()
    found = foreign.recognise(theirs)
    assert found == foreign.Recognised("cifar", zoo.cifar(depth), certain=True)
    network = making.make(found.spec).eval()
    network.load_state_dict(foreign.to_ours(theirs, "cifar", found.spec))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, logits = judge(images), network(images)
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()
    back = foreign.to_theirs(network.state_dict(), "cifar", found.spec)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)


def test_without_its_permutation_option_a_is_another_network():
    spec, judge = zoo.cifar(8), drawn(Akamaster(8))
    table = foreign._table("cifar", spec, foreign._wanted(spec))
    network = making.make(spec).eval()
    network.load_state_dict({ours: judge.state_dict()[name] for ours, name in table.items()})
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert not torch.allclose(judge(images), network(images), atol=0.1)


# --- What does not fit.


def test_a_renamed_tensor_is_named_on_both_sides():
    tensors = theirs_of()
    tensors["layer1.1.bn2.gamma"] = tensors.pop("layer1.1.bn2.weight")
    message = refusal(tensors)
    assert "the file lacks layer1.1.bn2.weight" in message
    assert "the network has no place for layer1.1.bn2.gamma" in message


@pytest.mark.parametrize("name", ["conv1.weight", "fc.weight", "layer2.0.conv1.weight"])
def test_a_tensor_that_the_network_is_read_from_is_named_when_it_is_renamed(name):
    tensors = theirs_of()
    tensors["x"] = tensors.pop(name)
    assert f"lacks {name}" in refusal(tensors)


def test_another_shape_is_named_with_both_shapes():
    tensors = theirs_of()
    tensors["layer1.1.conv2.weight"] = torch.zeros(8, 8, 1, 1)
    assert "of another shape: layer1.1.conv2.weight 8x8x1x1 for 8x8x3x3" in refusal(tensors)
    tensors = theirs_of() | {"bn1.bias": torch.zeros(())}
    assert "bn1.bias scalar for 8" in refusal(tensors)
    tensors = theirs_of() | {"bn1.num_batches_tracked": torch.zeros(3, dtype=torch.int64)}
    assert "bn1.num_batches_tracked 3 of whole numbers for scalar" in refusal(tensors)


def test_whole_numbers_are_no_weights():
    tensors = theirs_of() | {"bn1.bias": torch.zeros(8, dtype=torch.int64)}
    assert "bn1.bias 8 of whole numbers for 8" in refusal(tensors)


def test_of_many_names_three_are_told():
    tensors = {n: t for n, t in theirs_of().items() if not n.startswith("layer1.1.bn")}
    assert re.search(r"the file lacks (\S+, ){2}\S+ and 5 more$", refusal(tensors))


WRONG = {
    "nothing": ({}, "its 0 tensors"),
    "anything": ({"a": torch.ones(1), "b": torch.ones(2)}, r"2 tensors \(a, b, \.\.\.\) carry"),
    "a VGG with BN": (
        {
            **{f"features.{n}.weight": torch.ones(1) for n in (0, 1, 3, 4)},
            "classifier.6.weight": torch.ones(10, 4096),
        },
        "a VGG with BN",
    ),
    "a stem of scalars": (theirs_of() | {"conv1.weight": torch.ones(())}, "no network here"),
    "an even stem": (theirs_of() | {"conv1.weight": torch.ones(8, 3, 4, 4)}, "first kernel is 4x4"),
    "no projections": (
        {name: t for name, t in theirs_of().items() if "downsample" not in name},
        "no downsample",
    ),
    "bottlenecks without projections": (
        {
            name: tensor
            for name, tensor in theirs_of("cifar", EXPORTED["kuangliu's bottlenecks"][1]).items()
            if "shortcut" not in name
        },
        "no shortcut",
    ),
    "torchvision's GoogLeNet": (
        {"inception3a.branch1.conv.weight": torch.ones(1)},
        "GoogLeNet has BN and 3x3",
    ),
    "a last layer without weights": (
        {"res2a_branch2a/kernel": torch.ones(1), "fc1000/kernel": torch.ones(1)},
        "not 2 to 5",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_fits_no_network_costs_one_clear_line(case):
    tensors, words = WRONG[case]
    assert re.search(words, refusal(tensors))


# --- What wrappers and older versions leave.


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_prefixes_that_wrappers_leave_on_every_name_are_taken_off(prefix):
    plain = theirs_of()
    found = foreign.recognise({prefix + name: t for name, t in plain.items()})
    assert found == foreign.recognise(plain)
    made = foreign.to_ours({prefix + n: t for n, t in plain.items()}, found.naming, found.spec)
    assert made.keys() == on_meta(found.spec).keys()


def test_a_prefix_on_some_names_alone_is_part_of_them():
    plain = theirs_of()
    tensors = plain | {"module.fc.bias": plain["fc.bias"]}
    assert "no place for module.fc.bias" in refusal(tensors)


def test_bns_counters_are_kept_where_there_are_any():
    plain = theirs_of()
    without = {n: t for n, t in plain.items() if not n.endswith("num_batches_tracked")}
    assert len(without) < len(plain)
    for tensors, expected in ((plain, 7), (without, 0)):
        made = foreign.to_ours(tensors, "torchvision", tiny())
        counters = [t for name, t in made.items() if name.endswith("num_batches_tracked")]
        assert [(int(t), t.dtype) for t in counters] == [(expected, torch.int64)] * 8


# --- The authors' networks as Keras has them: names written down here once more.

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
BN = ("gamma", "beta", "moving_mean", "moving_variance")


def letters(depth, stage, blocks):
    """The authors' blocks: a b c d in small networks and stages, a b1 b2 b3 where there are many"""
    if depth > 50 and stage in (3, 4):
        return ["a", *(f"b{i}" for i in range(1, blocks))]
    return list("abcdef")[:blocks]


def convolutions(depth, style):
    """Yield (name of the convolution, name of its BN, kernel's shape HWIO) in the order they run"""
    yield (
        ("conv1", "bn_conv1", (7, 7, 3, 64))
        if style == "caffe"
        else (("conv1_conv", "conv1_bn", (7, 7, 3, 64)))
    )
    c_in = 64
    for stage, blocks in zip((2, 3, 4, 5), BLOCKS[depth], strict=True):
        width = 64 * 2 ** (stage - 2)
        for number, letter in enumerate(letters(depth, stage, blocks)):
            shapes = [(1, 1, c_in, width), (3, 3, width, width), (1, 1, width, 4 * width)]
            names = ["2a", "2b", "2c"] if style == "caffe" else ["1", "2", "3"]
            if number == 0:
                shapes.append((1, 1, c_in, 4 * width))
                names.append("1" if style == "caffe" else "0")
            for which, shape in zip(names, shapes, strict=True):
                if style == "caffe":
                    place = f"{stage}{letter}_branch{which}"
                    yield f"res{place}", f"bn{place}", shape
                else:
                    place = f"conv{stage}_block{number + 1}_{which}"
                    yield f"{place}_conv", f"{place}_bn", shape
            c_in = 4 * width


def keras(depth, style, make, classes=10, linear="fc1000"):
    """Return a file's tensors; `make` is given a name and a shape."""
    tensors = {}
    for conv, bn, shape in convolutions(depth, style):
        tensors[f"{conv}/kernel"] = make(f"{conv}/kernel", shape)
        tensors[f"{conv}/bias"] = make(f"{conv}/bias", shape[3:])
        tensors |= {f"{bn}/{name}": make(f"{bn}/{name}", shape[3:]) for name in BN}
    tensors[f"{linear}/kernel"] = make("fc", (2048, classes))
    tensors[f"{linear}/bias"] = make("fc", (classes,))
    return tensors


def empty(name, shape):
    return torch.empty(shape, device="meta")


@pytest.mark.parametrize("depth", BLOCKS)
@pytest.mark.parametrize(("style", "linear"), [("caffe", "fc1000"), ("keras", "predictions")])
def test_the_authors_and_keras_names_of_every_depth_are_all_accounted_for(depth, style, linear):
    tensors = keras(depth, style, empty, linear=linear)
    found = foreign.recognise(tensors)
    expected = replace(zoo.imagenet(depth), classes=10)
    assert found == foreign.Recognised(style, expected, certain=True)
    made = foreign.to_ours(tensors, style, found.spec)
    assert {n: t.shape for n, t in made.items()} == {
        n: t.shape for n, t in on_meta(expected).items()
    }


def test_what_a_keras_file_lacks_or_has_too_much_is_named():
    tensors = keras(101, "caffe", empty)
    tensors["res4b23_branch2b/kernel"] = tensors.pop("res4b22_branch2b/kernel")
    message = refusal(tensors)
    assert "lacks res4b22_branch2b/kernel" in message
    assert "res4b23_branch2b/kernel" in message
    for bias in (torch.ones(3), torch.ones(1)):
        odd = keras(50, "caffe", empty) | {"res2a_branch2a/bias": bias}
        assert "no place for res2a_branch2a/bias" in refusal(odd)
    without = keras(50, "caffe", empty)
    del without["bn2a_branch2a/moving_mean"]
    assert "lacks bn2a_branch2a/moving_mean" in refusal(without)
    for name in ("fc1000/bias", "fc1000/kernel"):
        without = keras(50, "caffe", empty)
        del without[name]
        assert f"lacks fc/{name.partition('/')[2]}" in refusal(without)


def test_a_keras_file_without_biases_needs_none():
    tensors = {n: t for n, t in keras(50, "caffe", empty).items() if not n.endswith("/bias")}
    tensors["fc1000/bias"] = torch.empty(10, device="meta")
    foreign.to_ours(tensors, "caffe", foreign.recognise(tensors).spec)


def authors_logits(tensors, images_bgr):
    """The authors' ResNet-50 of a file's tensors, one operation after the other."""

    def conv(x, name, bn, stride=1):
        kernel = tensors[f"{name}/kernel"].permute(3, 2, 0, 1)
        x = F.conv2d(x, kernel, tensors[f"{name}/bias"], stride, kernel.shape[-1] // 2)
        gamma, beta, mean, variance = (tensors[f"{bn}/{each}"] for each in BN)
        return F.batch_norm(x, mean, variance, gamma, beta, eps=1e-5)

    x = F.max_pool2d(F.relu(conv(images_bgr, "conv1", "bn_conv1", 2)), 3, 2, 1)
    for stage, blocks in zip((2, 3, 4, 5), BLOCKS[50], strict=True):
        for letter in "abcdef"[:blocks]:
            at = f"{stage}{letter}_branch"
            stride = 2 if letter == "a" and stage > 2 else 1
            y = F.relu(conv(x, f"res{at}2a", f"bn{at}2a", stride))
            y = F.relu(conv(y, f"res{at}2b", f"bn{at}2b"))
            y = conv(y, f"res{at}2c", f"bn{at}2c")
            x = F.relu(y + (conv(x, f"res{at}1", f"bn{at}1", stride) if letter == "a" else x))
    return x.mean((2, 3)) @ tensors["fc1000/kernel"] + tensors["fc1000/bias"]


def test_a_keras_network_gives_the_same_logits_here_from_rgb_images():
    draw = torch.Generator().manual_seed(0)

    def make(name, shape):
        if name.endswith("/kernel"):
            return torch.randn(shape, generator=draw) / shape[0] / shape[2] ** 0.5
        if name.endswith("/moving_variance"):
            return torch.rand(shape, generator=draw) + 0.5
        return torch.randn(shape, generator=draw) * 0.3 + name.endswith("/gamma")

    tensors = keras(50, "caffe", make)
    tensors["fc1000/kernel"] *= 0.02
    found = foreign.recognise(tensors)
    made = foreign.swap_red_and_blue(foreign.to_ours(tensors, "caffe", found.spec))
    network = making.make(found.spec).eval()
    network.load_state_dict(made)
    bgr = torch.randn(2, 3, 64, 64, generator=draw)
    with torch.inference_mode():
        expected, logits = authors_logits(tensors, bgr), network(bgr.flip(1))
        unswapped = network(bgr)
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (unswapped - expected).abs().max() > 0.1 * expected.abs().max()


@pytest.mark.parametrize(
    ("naming", "first", "second"),
    [
        ("caffe", "res3a_branch2a", "res3a_branch2b"),
        ("keras", "conv3_block1_1_conv", "conv3_block1_2_conv"),
    ],
)
def test_the_layers_of_a_keras_file_tell_where_the_stride_is(naming, first, second):
    def told(*strides):
        layers = {
            layer: {"strides": each}
            for layer, each in zip((first, second), strides, strict=True)
            if each is not None
        }
        return foreign.stride_on(naming, layers)

    assert told([2, 2], [1, 1]) == "1x1"
    assert told([1, 1], [2, 2]) == "3x3"
    assert told(2, 1) == "1x1"
    assert told(1, 2) == "3x3"
    assert told(None, [2, 2]) == "3x3"
    for nowhere in ((None, None), ([1, 1], [1, 1]), ("2", {}), (3, [])):
        assert told(*nowhere) is None
    assert foreign.stride_on("torchvision", {first: {"strides": [2, 2]}}) is None


def test_a_3x3_stem_of_torchvisions_names_leaves_open_what_goes_with_it():
    tensors = theirs_of() | {"conv1.weight": torch.ones(8, 3, 3, 3)}
    assert not foreign.recognise(tensors).certain


def test_a_count_of_averaged_updates_is_no_weight():
    tensors = {f"module.{name}": tensor for name, tensor in theirs_of().items()}
    found = foreign.recognise(tensors | {"n_averaged": torch.tensor(7)})
    assert found == foreign.recognise(theirs_of())


def test_two_last_layers_are_refused():
    tensors = {"fc1000/kernel": torch.ones(2, 2), "predictions/kernel": torch.ones(2, 2)}
    with pytest.raises(CheckpointError, match="more than one last layer"):
        foreign.recognise(tensors)


@pytest.mark.parametrize(
    "spec",
    [replace(tiny(), in_channels=1), VggSpec(convolutions=(1,) * 5, classes=5, in_channels=4)],
    ids=["resnet", "vgg"],
)
def test_a_file_tells_how_many_channels_its_images_have(spec):
    with torch.device("meta"):
        theirs = foreign.to_theirs(making.make(spec).state_dict(), "torchvision", spec)
    assert foreign.recognise(theirs).spec == spec
