import pytest
import torch
from torch import nn

from resnets.core import artifacts
from resnets.inference import fused
from resnets.models import making, prelu_net, vgg, zoo
from resnets.models.network import he_init
from resnets.models.spec import (
    GoogLeNetSpec,
    PReLUNetSpec,
    ResNetSpec,
    StageSpec,
    StemSpec,
    VggSpec,
)


def tiny(block="basic", shortcut="B", stride_on="1x1", pool=True, stages=((2, 4, 1), (2, 8, 2))):
    """Everything the paper's networks have, a few channels wide."""
    return ResNetSpec(
        stem=StemSpec(kernel=7 if pool else 3, width=4, stride=2 if pool else 1, pool=pool),
        block=block,
        stages=tuple(StageSpec(blocks=n, width=w, stride=s) for n, w, s in stages),
        shortcut=shortcut,
        classes=5,
        stride_on=stride_on,
    )


SPECS = {
    **{f"basic, {s}": tiny(shortcut=s) for s in ("none", "A", "B", "C", "highway")},
    **{f"v1, {s}": tiny("bottleneck", s) for s in ("none", "A", "B", "C")},
    "v1.5": tiny("bottleneck", stride_on="3x3"),
    "small images": tiny(shortcut="A", pool=False),
    "subsampled, no wider": tiny(shortcut="A", stages=((1, 4, 2), (1, 4, 2))),
    "identity on the stem's output": tiny(shortcut="A", pool=False, stages=((1, 4, 1),)),
    "stride 3": tiny(shortcut="B", stages=((1, 4, 3), (1, 8, 3))),
    "googlenet": GoogLeNetSpec(classes=5),
    "prelu-net": PReLUNetSpec(classes=5),
    "vgg": VggSpec(convolutions=(1, 1, 2, 1, 1), classes=5),
}
RESIDUAL = [name for name, spec in SPECS.items() if isinstance(spec, ResNetSpec)]


@pytest.fixture(autouse=True, scope="module")
def narrow():
    """VGG and PReLU-net have hundreds of megabytes of weights as they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vgg, "_WIDTHS", (4, 4, 4, 8, 8))
        patch.setattr(vgg, "_FC", 16)
        patch.setattr(prelu_net, "_STAGES", {"conv2_x": 4, "conv3_x": 8, "conv4_x": 8})
        patch.setattr(prelu_net, "_FC", 16)
        yield


def network(name, seed=0):
    """A network whose BN has seen data: no mean is 0, no variance 1."""
    made = making.make(SPECS[name]).eval()
    draw = torch.Generator().manual_seed(seed)
    he_init(made, draw)
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3, generator=draw)
                module.running_var.uniform_(0.5, 2, generator=draw)
                module.weight.uniform_(0.5, 1.2, generator=draw)
                module.bias.normal_(0, 0.3, generator=draw)
            elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                module.bias.normal_(0, 0.3, generator=draw)
    return made.to(memory_format=torch.channels_last)


def images(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def agree(found, expected, relative):
    assert found.dtype == torch.float32
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= relative * float(expected.abs().max())


@pytest.fixture(params=["oneDNN", "plain operations"])
def way(request, monkeypatch):
    if request.param == "oneDNN":
        assert fused._onednn_works(torch.float32)
    else:
        monkeypatch.setattr(fused, "_onednn_works", lambda dtype: False)
    return request.param


# The same numbers.


@pytest.mark.parametrize("name", SPECS)
@torch.inference_mode()
def test_a_fused_network_gives_the_same_logits_and_map(name, way):
    made = network(name)
    ready = fused.fuse(made, torch.float32)
    x = images(3, 3, 64, 64)
    agree(ready(x), made(x), 1e-5)
    wide = images(2, 3, 77, 100)
    agree(ready.score_map(wide), made.score_map(wide), 1e-5)
    convolutions = [module for module in ready.modules() if isinstance(module, fused.FusedConv)]
    assert convolutions
    assert all(module.onednn == (way == "oneDNN") for module in convolutions)


@pytest.mark.parametrize("name", SPECS)
@torch.inference_mode()
def test_in_bfloat16_the_logits_are_float32_and_near(name, way):
    made = network(name)
    ready = fused.fuse(made, torch.bfloat16)
    x = images(3, 3, 64, 64)
    found, expected = ready(x), made(x)
    agree(found, expected, 0.02)
    assert not torch.equal(found, expected)
    agree(ready.score_map(x), made.score_map(x), 0.02)


@pytest.mark.parametrize("name", RESIDUAL)
@pytest.mark.parametrize("side", [1, 2, 3, 31, 33])
@torch.inference_mode()
def test_images_of_any_side_and_number_give_the_same(name, side, way):
    made = network(name)
    ready = fused.fuse(made, torch.float32)
    for count in (1, 5):
        x = images(count, 3, side, side + 2)
        agree(ready(x), made(x), 1e-5)


@pytest.mark.parametrize("name", SPECS)
@torch.inference_mode()
def test_images_in_any_layout_of_memory_give_the_same(name, way):
    made = network(name)
    ready = fused.fuse(made, torch.float32)
    x = images(2, 3, 40, 40)
    expected = made(x)
    strided = images(2, 6, 80, 40)
    strided[:, ::2, ::2].copy_(x)
    for laid in (
        x.contiguous(memory_format=torch.channels_last),
        x.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1),
        strided[:, ::2, ::2],
        x[:1].expand(2, -1, -1, -1),
    ):
        agree(ready(laid), expected if torch.equal(laid, x) else made(laid), 1e-5)


@pytest.mark.parametrize("name", RESIDUAL)
@torch.inference_mode()
def test_weights_in_torchs_own_layout_give_the_same(name, way):
    made = network(name).to(memory_format=torch.contiguous_format)
    x = images(2, 3, 40, 40)
    agree(fused.fuse(made, torch.float32)(x), made(x), 1e-5)


def test_gradients_being_recorded_changes_nothing(way):
    made = network("basic, B")
    x = images(2, 3, 40, 40)
    agree(fused.fuse(made, torch.float32)(x).detach(), made(x).detach(), 1e-5)


@torch.inference_mode()
def test_the_networks_of_the_paper_agree_too(way):
    for name in ("cifar-resnet8", "cifar-resnet8-c", "cifar-plain8", "cifar-highway8"):
        SPECS[name] = zoo.named(name)
        try:
            made = network(name)
        finally:
            del SPECS[name]
        x = images(2, 3, 32, 32)
        agree(fused.fuse(made, torch.float32)(x), made(x), 1e-5)


# Nothing else changes.


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", SPECS)
@torch.inference_mode()
def test_the_network_and_the_images_are_as_they_were(name, dtype, way):
    made = network(name)
    x = images(2, 3, 40, 40).contiguous(memory_format=torch.channels_last)
    kept, weights = x.clone(), artifacts.sha256_of(made.state_dict())
    expected = made(x)
    ready = fused.fuse(made, dtype)
    once = ready(x)
    assert torch.equal(ready(x), once)
    ready.score_map(x)
    assert torch.equal(ready(x), once)
    assert torch.equal(x, kept)
    assert artifacts.sha256_of(made.state_dict()) == weights
    assert torch.equal(made(x), expected)
    assert not any(isinstance(module, fused.FusedConv) for module in made.modules())


@torch.inference_mode()
def test_an_answer_is_not_overwritten_by_the_next(way):
    ready = fused.fuse(network("basic, B"), torch.float32)
    first = ready(images(2, 3, 40, 40))
    kept = first.clone()
    ready(images(2, 3, 40, 40, seed=2))
    assert torch.equal(first, kept)


@torch.inference_mode()
def test_only_a_block_whose_shortcut_is_the_identity_overwrites_its_input(way):
    written = {}
    for name in RESIDUAL:
        for stage in network(name).stages.values():
            for block in stage:
                if block.gate is not None:
                    continue
                c_in = block.body.conv1.in_channels
                x = images(1, c_in, 9, 9).contiguous(memory_format=torch.channels_last)
                kept = x.clone()
                fused.FusedResidual(block, torch.float32)(x)
                kind = type(block.shortcut).__name__
                written.setdefault(kind, set()).add(not torch.equal(x, kept))
    others = {"NoneType": {False}, "ZeroPadShortcut": {False}, "Sequential": {False}}
    assert written == others | {"Identity": {way == "oneDNN"}}


# A broken network must not look whole.


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "where", ["stem.conv1.weight", "stages.conv3_x.0.body.conv2.weight", "stem.bn1.bias"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_a_weight_that_is_no_number_gives_logits_that_are_none(where, bad, dtype, way):
    made = network("basic, B")
    made.state_dict()[where][0] = bad  # of one channel
    x = images(2, 3, 40, 40)
    assert not made(x).isfinite().any()
    assert not fused.fuse(made, dtype)(x).isfinite().any()


@torch.inference_mode()
def test_a_variance_below_zero_gives_logits_that_are_no_numbers(way):
    made = network("basic, B")
    made.stem.bn1.running_var[0] = -1
    x = images(2, 3, 40, 40)
    assert made(x).isnan().all()
    assert fused.fuse(made, torch.float32)(x).isnan().all()


# Whether oneDNN can be used is found out.


@pytest.fixture
def fresh():
    fused._onednn_works.cache_clear()
    yield
    fused._onednn_works.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_onednn_works_here(dtype, fresh):
    assert fused._onednn_works(dtype)


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, NotImplementedError, TypeError])
@torch.inference_mode()
def test_a_torch_without_these_calls_computes_without_them(error, fresh, monkeypatch):
    class Missing:
        def __getattr__(self, name):
            raise error(name)

    monkeypatch.setattr(torch.ops, "mkldnn", Missing())
    assert not fused._onednn_works(torch.float32)
    made = network("basic, A")
    x = images(2, 3, 40, 40)
    agree(fused.fuse(made, torch.float32)(x), made(x), 1e-5)


@pytest.mark.parametrize("changed", ["_convolution_pointwise", "_convolution_pointwise_"])
def test_a_torch_where_a_call_means_something_else_is_noticed(changed, fresh, monkeypatch):
    real = torch.ops.mkldnn

    class Other:
        _reorder_convolution_weight = real._reorder_convolution_weight
        _convolution_pointwise = real._convolution_pointwise
        _convolution_pointwise_ = real._convolution_pointwise_

    def wrong(*given):
        return 1.1 * real._convolution_pointwise(*given)

    wrong.binary = lambda *given: 1.1 * real._convolution_pointwise_.binary(*given)
    monkeypatch.setattr(Other, changed, wrong if changed.endswith("_") else staticmethod(wrong))
    monkeypatch.setattr(torch.ops, "mkldnn", Other)
    assert not fused._onednn_works(torch.float32)


def test_every_convolution_is_joined_with_its_bn_and_relu():
    ready = fused.fuse(network("v1, B"), torch.float32)
    left = [type(module).__name__ for module in ready.modules()]
    assert not {"Conv2d", "BatchNorm2d", "ReLU"} & set(left)
    assert left.count("FusedConv") == 1 + 4 * 3 + 2  # stem, bodies, two projections


def test_a_network_is_not_copied_where_nothing_changes():
    made = network("vgg")
    ready = fused.fuse(made, torch.float32)
    assert ready.fc6 is made.fc6
    assert ready.head is made.head
    assert ready.spec is made.spec
