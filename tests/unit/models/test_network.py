import pytest
import torch
from torch import nn

from resnets.models import blocks, making, zoo
from resnets.models.network import gaussian_init, he_init, without_bn
from resnets.models.spec import ResNetSpec, StageSpec, StemSpec


def tiny(block="basic", shortcut="B", stage_strides=(1, 2, 2, 2), pool=True):
    """For images of 224 px with a pool, of 32 px without, as the paper's."""
    return ResNetSpec(
        stem=StemSpec(kernel=7 if pool else 3, width=4, stride=2 if pool else 1, pool=pool),
        block=block,
        stages=tuple(StageSpec(blocks=1, width=4, stride=stride) for stride in stage_strides),
        shortcut=shortcut,
        classes=5,
    )


SPECS = {
    "basic": tiny(),
    "bottleneck": tiny("bottleneck"),
    "plain": tiny(shortcut="none"),
    "small images": tiny(shortcut="A", stage_strides=(1, 2, 2), pool=False),
    "highway": tiny(shortcut="highway", stage_strides=(1, 2, 2), pool=False),
    "stride 3": tiny(stage_strides=(3, 2, 2)),  # 224 px / 48 is no whole number
    "one pixel": tiny(stage_strides=(2, 2, 2, 2, 2, 2), pool=False),  # 64 px a pixel of the map
}


def network(name):
    made = making.make(SPECS[name]).eval()
    draw = torch.Generator().manual_seed(0)
    he_init(made, draw)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=draw)
            module.running_var.uniform_(0.5, 2, generator=draw)
    nn.init.normal_(made.head.bias, generator=draw)
    return made


def images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SPECS)
@torch.inference_mode()
def test_the_score_map_of_an_image_of_the_papers_size_is_its_logits(name):
    made = network(name)
    side = made.spec.image_px
    x = images(2, 3, side, side)
    found = made.score_map(x)
    assert found.shape == (2, 5, 1, 1)
    torch.testing.assert_close(found[:, :, 0, 0], made(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SPECS)
@torch.inference_mode()
def test_the_score_map_of_a_larger_image_is_that_of_a_window_moved_by_hand(name):
    made = network(name)
    side = made.spec.image_px
    window = list(made.features(images(1, 3, side, side)).values())[-1].shape[2]
    high, wide = side + 3 * made.spec.total_stride, side + made.spec.total_stride + 5
    x = images(2, 3, high, wide)
    last = list(made.features(x).values())[-1]
    rows, columns = last.shape[2] - window + 1, last.shape[3] - window + 1
    assert (rows, columns) >= (2, 2)
    found = made.score_map(x)
    assert found.shape == (2, 5, rows, columns)
    for row in range(rows):
        for column in range(columns):
            seen = last[:, :, row : row + window, column : column + window]
            expected = made.head(seen.mean((2, 3)))
            torch.testing.assert_close(found[:, :, row, column], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SPECS)
@torch.inference_mode()
def test_the_score_map_of_a_smaller_image_is_its_logits_in_one_place(name):
    made = network(name)
    x = images(2, 3, made.spec.image_px // 3, made.spec.image_px // 3)
    found = made.score_map(x)
    assert found.shape == (2, 5, 1, 1)
    torch.testing.assert_close(found[:, :, 0, 0], made(x), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_score_map_of_an_image_that_is_small_one_way_slides_the_other():
    made = network("small images")
    found = made.score_map(images(1, 3, 16, 64))
    assert found.shape == (1, 5, 1, 64 // 4 - 32 // 4 + 1)


@torch.inference_mode()
def test_the_score_map_is_of_the_flipped_image_where_the_image_is_flipped_and_so_are_the_filters():
    made = network("small images")
    x = images(1, 3, 33, 41)  # of the form 4 n + 1: a stride then meets the same pixels
    found = made.score_map(x)
    for parameter in made.parameters():
        if parameter.ndim == 4:
            parameter.copy_(parameter.flip(3))
    torch.testing.assert_close(made.score_map(x.flip(3)), found.flip(3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("std", [0.01, 0.1])
def test_gaussian_weights_have_one_deviation_in_every_layer_and_biases_begin_as_with_he(std):
    made = making.make(zoo.named("cifar-highway20"))
    gaussian_init(made, torch.Generator().manual_seed(0), std)
    he = making.make(zoo.named("cifar-highway20"))
    he_init(he, torch.Generator().manual_seed(0))
    for (name, module), other in zip(made.named_modules(), he.modules(), strict=True):
        if isinstance(module, nn.Conv2d | nn.Linear):
            spread = 4 / module.weight.numel() ** 0.5
            assert module.weight.std().item() == pytest.approx(std, rel=spread), name
            assert abs(module.weight.mean().item()) < spread * std
            assert module.bias is None or torch.equal(module.bias, other.bias)
        elif isinstance(module, nn.BatchNorm2d):
            assert all(
                torch.equal(tensor, other.state_dict()[key])
                for key, tensor in module.state_dict().items()
            )
    gates = [module for module in made.modules() if isinstance(module, blocks.Gate)]
    assert len(gates) == 9
    assert all(bool((gate.conv.bias == -2).all()) for gate in gates)


def test_gaussian_weights_depend_on_the_generator_alone():
    one, other = network("basic"), network("highway")
    for made, seed in ((one, 5), (other, 6)):
        gaussian_init(made, torch.Generator().manual_seed(seed), 0.01)
    again = making.make(SPECS["basic"])
    gaussian_init(again, torch.Generator().manual_seed(5), 0.01)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    assert not torch.equal(one.stem.conv1.weight[0, 0, 0], other.stem.conv1.weight[0, 0, 0])


@pytest.mark.parametrize("name", SPECS)
@torch.inference_mode()
def test_without_bn_a_network_computes_as_with_a_bn_that_does_nothing(name):
    made = network(name)
    bare = without_bn(made)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in bare.modules())
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
            module.running_var.fill_(1 - module.eps)
    x = images(2, 3, 32, 32)
    torch.testing.assert_close(bare(x), made(x), atol=1e-5, rtol=1e-5)


def test_taking_bn_away_leaves_the_network_itself_alone_and_the_other_numbers_as_they_are():
    made = network("bottleneck")
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    bare = without_bn(made)
    kept = bare.state_dict()
    assert set(kept) == {name for name in before if "bn" not in name}
    assert all(torch.equal(tensor, before[name]) for name, tensor in kept.items())
    nn.init.zeros_(bare.head.weight)
    assert all(torch.equal(t, before[name]) for name, t in made.state_dict().items())
