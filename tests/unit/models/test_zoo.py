import pytest
import torch

from resnets.core.errors import ModelError
from resnets.models import making, network, spec, zoo

# DESIGN's names.
EXPECTED = {
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnet18-a", "resnet34-a", "resnet34-c", "plain18", "plain34", "highway34"),
    *("resnet50-v1.5", "resnet101-v1.5", "resnet152-v1.5"),
    *("resnet18-small", "resnet34-small", "resnet50-small", "resnet101-small", "resnet152-small"),
    *("cifar-resnet20", "cifar-resnet32", "cifar-resnet44", "cifar-resnet56"),
    *("cifar-resnet110", "cifar-resnet1202", "cifar-resnet20-b", "cifar-resnet20-c"),
    *("cifar-plain20", "cifar-plain32", "cifar-plain44", "cifar-plain56", "cifar-plain110"),
    *("cifar-highway20", "cifar-highway32"),
    *("vgg16", "vgg19", "googlenet", "prelu-net"),
}
UNNUMBERED = {"googlenet": 22, "prelu-net": 22}  # the depth their papers state


def test_the_names_are_those_that_people_were_told():
    assert set(zoo.NAMES) >= EXPECTED
    assert len(set(zoo.NAMES)) == len(zoo.NAMES)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_name_builds_a_network_of_the_depth_in_its_name(name):
    described = zoo.named(name)
    with torch.device("meta"):
        net = making.make(described)
    digits = (
        str(UNNUMBERED.get(name, ""))
        or name.removeprefix("cifar-").lstrip("abcdefghijklmnopqrstuvwxyz").split("-")[0]
    )
    assert described.depth == int(digits)
    assert net.spec == described
    assert net.head.out_features == (1000 if described.image_px == 224 else 10)


def test_different_names_are_different_networks():
    assert len({zoo.named(name) for name in zoo.NAMES}) == len(zoo.NAMES)


@pytest.mark.parametrize(
    ("name", "shortcut"),
    [
        ("resnet34", "B"),
        ("resnet34-a", "A"),
        ("resnet34-c", "C"),
        ("plain34", "none"),
        ("highway34", "highway"),
        ("resnet50-v1.5", "B"),
        ("resnet18-small", "B"),
        ("cifar-resnet20", "A"),
        ("cifar-resnet20-b", "B"),
        ("cifar-resnet20-c", "C"),
        ("cifar-plain20", "none"),
        ("cifar-highway20", "highway"),
        ("cifar-highway56", "highway"),
        ("cifar-resnet8-c", "C"),
    ],
)
def test_a_name_says_its_shortcut(name, shortcut):
    assert zoo.named(name).shortcut == shortcut


@pytest.mark.parametrize(("name", "depth"), [("cifar-resnet26", 26), ("cifar-plain8", 8)])
def test_a_cifar_depth_that_is_not_listed_works_where_it_is_6n_plus_2(name, depth):
    assert name not in zoo.NAMES
    assert zoo.named(name).depth == depth
    with torch.device("meta"):
        assert network.ResNet(zoo.named(name))(torch.empty(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("cifar-resnet21", "20 and 26"),
        ("cifar-resnet25", "20 and 26"),
        ("cifar-plain2", "8 and 14"),
        ("cifar-highway0", "8 and 14"),
        ("cifar-resnet1000-b", "998 and 1004"),
    ],
)
def test_a_cifar_depth_that_is_not_6n_plus_2_is_refused_naming_the_nearest(name, nearest):
    with pytest.raises(ModelError, match=rf"6n\+2 layers.*the nearest are {nearest}$"):
        zoo.named(name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnet-50", "resnet50"),
        ("ResNet50", "resnet50"),
        ("resnet50v1.5", "resnet50-v1.5"),
        ("cifar-resnet20a", "cifar-resnet20"),
        ("cifar-plain20-b", "cifar-plain20"),
        ("cifar-highway20-c", "cifar-highway20"),
        ("vgg-16", "vgg16"),
        ("GoogLeNet", "googlenet"),
        ("prelunet", "prelu-net"),
    ],
)
def test_an_unknown_name_is_refused_suggesting_the_nearest(name, nearest):
    with pytest.raises(ModelError) as caught:
        zoo.named(name)
    message = str(caught.value)
    suggested = message.split("did you mean ")[1].split("? ")[0].split(" or ")
    assert nearest in suggested
    assert set(suggested) <= set(zoo.NAMES)
    assert message.endswith("`resnets list models` lists them")


def test_a_name_like_no_other_is_refused_without_a_suggestion():
    with pytest.raises(ModelError, match=r"^model 'zzz': there is none of that name; `resnets"):
        zoo.named("zzz")


def test_a_depth_that_table_1_does_not_have_is_refused_naming_those_it_has():
    with pytest.raises(ModelError, match="Table 1 has 18, 34, 50, 101, 152, not 20"):
        zoo.imagenet(20)
    with pytest.raises(ModelError, match="not 20"):
        zoo.small(20)


@pytest.mark.parametrize("name", ["cifar-resnet020", "cifar-resnet２０"])
def test_one_network_has_one_name(name):
    with pytest.raises(ModelError):
        zoo.named(name)


def one_stage(**changes):
    described = {"blocks": 1, "width": 8, "stride": 1} | changes
    return (spec.StageSpec(**described),)


def described(**changes):
    stem = spec.StemSpec(kernel=3, width=8, stride=1, pool=False)
    base = {"stem": stem, "block": "basic", "stages": one_stage(), "shortcut": "A", "classes": 10}
    return spec.ResNetSpec(**(base | changes))


def test_numbers_that_make_no_network_are_refused_naming_the_field():
    assert described().depth == 4
    for wrong in ({"blocks": 0}, {"width": -1}, {"stride": 0}):
        with pytest.raises(ModelError, match=r"model\.stages: needs positive numbers"):
            one_stage(**wrong)
    for kernel in (0, 2, -3):
        with pytest.raises(ModelError, match=r"model\.stem: needs an odd kernel"):
            spec.StemSpec(kernel=kernel, width=8, stride=1, pool=False)
    with pytest.raises(ModelError, match=r"model\.classes: must be positive, got 0"):
        described(classes=0)
    with pytest.raises(ModelError, match="needs at least one stage"):
        described(stages=())


@pytest.mark.parametrize("shortcut", ["A", "highway"])
def test_a_shortcut_without_parameters_cannot_take_channels_away(shortcut):
    narrowing = one_stage(width=8) + one_stage(width=4)
    with pytest.raises(ModelError, match="option A only adds channels"):
        described(stages=narrowing, shortcut=shortcut)
    assert described(stages=narrowing, shortcut="B").depth == 6


@pytest.mark.parametrize(("block", "width"), [("basic", 4), ("bottleneck", 1)])
def test_a_shortcut_without_parameters_cannot_take_the_stems_channels_away(block, width):
    with pytest.raises(ModelError, match="option A only adds channels"):
        described(block=block, stages=one_stage(width=width))


def test_a_network_keeps_its_name_whatever_the_channels_of_its_images():
    for name in ("resnet50", "cifar-plain20", "vgg16"):
        grey = zoo.taking(zoo.named(name), 1)
        assert grey.in_channels == 1
        assert zoo.name_of(grey) == name
        with torch.device("meta"):
            made = making.make(grey)
        first, *_ = made.parameters()
        assert first.shape[1] == 1
    assert zoo.taking(zoo.named("googlenet"), 3) == zoo.named("googlenet")
    with pytest.raises(ModelError, match=r"model\.in_channels: must be from 1 to 64, got 0"):
        zoo.taking(zoo.named("resnet18"), 0)
