"""The same random weights give torchvision's, timm's and our networks the same logits."""

from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from torch import nn

from resnets.core.errors import CheckpointError
from resnets.inference import converting
from resnets.models import foreign, making, zoo

DEPTHS = (18, 34, 50, 101, 152)
CASES = [
    *(("torchvision", f"resnet{depth}") for depth in DEPTHS),
    *(("torchvision", name) for name in ("vgg16", "vgg19")),
    *(("timm", f"resnet{depth}") for depth in DEPTHS),
    ("timm", "vgg16"),
]
CLASSES = 20


def judge(library, name):
    """Return the other library's network with everything in it at random."""
    with torch.device("meta"):  # where nothing is drawn, most of all not VGG's 120 million
        if library == "timm":
            network = timm.create_model(name, num_classes=CLASSES)
        else:
            network = torchvision.models.get_model(name, num_classes=CLASSES)
    network.to_empty(device="cpu")
    draw = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            module.weight.data.uniform_(-1, 1, generator=draw).mul_((6 / fan_in) ** 0.5)
            if module.bias is not None:
                module.bias.data.uniform_(-0.3, 0.3, generator=draw)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.3, 0.7, generator=draw)
            module.bias.data.uniform_(-0.3, 0.3, generator=draw)
            module.running_mean.uniform_(-0.3, 0.3, generator=draw)
            module.running_var.uniform_(0.5, 2, generator=draw)
            module.num_batches_tracked.fill_(11)
    return network.eval()


def network_of(name):
    """Return our network of that name, its stride where both libraries have it."""
    spec = replace(zoo.named(name), classes=CLASSES)
    if name in ("resnet50", "resnet101", "resnet152"):
        spec = replace(spec, stride_on="3x3")
    with torch.device("meta"):
        return spec, making.make(spec).eval()


@pytest.mark.parametrize(("library", "name"), CASES)
def test_the_same_weights_give_the_same_logits_and_lead_back_to_the_same_bits(library, name):
    theirs = judge(library, name)
    tensors = theirs.state_dict()
    found = foreign.recognise(tensors)
    spec, ours = network_of(name)
    if found.certain:
        assert found.spec == spec
    else:
        assert replace(found.spec, stride_on="3x3") == spec
    ours.load_state_dict(foreign.to_ours(tensors, found.naming, spec), assign=True)
    # timm's VGG takes no images smaller than those it was made for.
    side = 224 if (library, name) == ("timm", "vgg16") else 64
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, logits = theirs(images), ours(images)
    assert expected.abs().max() > 0.1
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()
    if found.naming == "torchvision":
        back = foreign.to_theirs(ours.state_dict(), "torchvision", spec)
        assert back.keys() == tensors.keys()
        assert all(torch.equal(back[key], tensors[key]) for key in tensors)
        theirs.load_state_dict(back, assign=True)


def test_timms_vgg_leads_to_torchvisions_names():
    tensors = judge("timm", "vgg16").state_dict()
    spec, _ = network_of("vgg16")
    ours = foreign.to_ours(tensors, "timm", spec)
    with torch.device("meta"):
        other = torchvision.models.vgg16(num_classes=CLASSES)
    other.load_state_dict(foreign.to_theirs(ours, "torchvision", spec), assign=True)
    assert torch.equal(other.classifier[0].weight, tensors["pre_logits.fc1.weight"].flatten(1))


REFUSED = {
    "wide_resnet50_2": "layer1.0.conv3.weight 256x128x1x1 for 512x128x1x1",
    "resnext50_32x4d": "layer1.0.conv2.weight 128x4x3x3 for 128x128x3x3",
    "vgg16_bn": "a VGG with BN",
    "googlenet": "torchvision's GoogLeNet has BN and 3x3 convolutions",
    "alexnet": "like those of no network",
    "densenet121": "names of no library known here",
    "mobilenet_v2": "names of no library known here",
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_networks_of_torchvision_cost_one_clear_line(name):
    with torch.device("meta"):
        made = torchvision.models.get_model(
            name, **({"aux_logits": False, "init_weights": False} if name == "googlenet" else {})
        )

    def convert():
        found = foreign.recognise(made.state_dict())
        foreign.to_ours(made.state_dict(), found.naming, found.spec)

    with pytest.raises(CheckpointError) as caught:
        convert()
    assert REFUSED[name] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_torchvision_takes_what_was_converted_and_exported(tmp_path):
    theirs = judge("torchvision", "resnet18")
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    made = converting.convert(
        tmp_path / "w.pth", tmp_path / "w.safetensors", model="resnet18", preprocess="torchvision"
    )
    told = converting.export(made, tmp_path / "back.pth")
    assert (told["model"], told["names"]) == ("resnet18", "torchvision")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    other = torchvision.models.resnet18(num_classes=CLASSES).eval()
    other.load_state_dict(back)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(other(images), theirs(images))


def test_the_libraries_compute_something_else_with_the_stride_of_v1():
    """That is why networks of v1 are not exported."""
    theirs = judge("torchvision", "resnet50")
    with torch.device("meta"):
        v1 = making.make(replace(zoo.named("resnet50"), classes=CLASSES)).eval()
    v1.load_state_dict(foreign.to_ours(theirs.state_dict(), "torchvision", v1.spec), assign=True)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = theirs(images)
        assert (v1(images) - expected).abs().max() > 0.01 * expected.abs().max()
