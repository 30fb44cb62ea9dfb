"""What the catalogue says of others' weights is what the installed torchvision and timm say."""

import pytest
import timm
import torchvision
from timm.data import resolve_data_config, transforms_factory
from torchvision.transforms import CenterCrop, Normalize, Resize

from resnets.inference import published

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


def of(publisher):
    return [name for name in published.NAMES if name.startswith(f"{publisher}/")]


def torchvisions(name):
    model, version = name.removeprefix("torchvision/").split(".imagenet1k-v")
    return torchvision.models.get_model_weights(model)[f"IMAGENET1K_V{version}"]


@pytest.mark.parametrize("name", of("torchvision"))
def test_torchvision_says_the_same_of_its_weights(name):
    ours, theirs = published.named(name), torchvisions(name)
    assert [source.url for source in ours.sources] == [theirs.url]
    told = theirs.meta["_metrics"]["ImageNet-1K"]
    assert ours.reported.top1_error_percent == pytest.approx(100 - told["acc@1"], abs=1e-9)
    assert ours.reported.top5_error_percent == pytest.approx(100 - told["acc@5"], abs=1e-9)
    transform = theirs.transforms()
    for places in (ours.preprocess, ours.reported):
        assert [places.crop_px] == transform.crop_size
        assert [places.resize_px] == transform.resize_size
    assert ours.preprocess.interpolation == transform.interpolation.value
    assert transform.antialias
    assert list(ours.preprocess.mean) == transform.mean
    assert list(ours.preprocess.std) == transform.std
    assert len(theirs.meta["categories"]) == 1000


def test_all_of_torchvisions_weights_of_these_networks_are_there():
    theirs = {
        f"torchvision/{model}.{weights.name.lower().replace('_', '-')}"
        for model in (*RESNETS, "vgg16", "vgg19")
        for weights in torchvision.models.get_model_weights(model)
        if weights.name != "IMAGENET1K_FEATURES"  # without a classifier
    }
    assert set(of("torchvision")) == theirs


@pytest.mark.parametrize("name", of("timm"))
def test_timm_says_the_same_of_its_weights(name):
    ours, theirs = published.named(name), timm.get_pretrained_cfg(name.removeprefix("timm/"))
    *files, hub = ours.sources
    assert [source.url for source in files] == ([theirs.url] if theirs.url else [])
    assert hub.url == f"https://huggingface.co/{theirs.hf_hub_id}/resolve/main/model.safetensors"
    assert ours.licence == theirs.license
    assert theirs.num_classes == 1000
    config = resolve_data_config(pretrained_cfg=theirs.to_dict())
    resize, crop, *_, normalize = transforms_factory.create_transform(**config).transforms
    assert isinstance(resize, Resize)
    assert isinstance(crop, CenterCrop)
    assert isinstance(normalize, Normalize)
    assert ours.preprocess.resize_px == resize.size
    assert (ours.preprocess.crop_px,) * 2 == tuple(crop.size)
    assert ours.preprocess.interpolation == resize.interpolation.value
    assert ours.preprocess.mean == pytest.approx(normalize.mean.tolist())
    assert ours.preprocess.std == pytest.approx(normalize.std.tolist())


@pytest.mark.parametrize("name", of("timm"))
def test_timms_published_errors_are_of_the_size_timm_tests_at(name):
    ours, theirs = published.named(name), timm.get_pretrained_cfg(name.removeprefix("timm/"))
    if ours.reported is None:
        assert name in ("timm/resnet34.tv_in1k", "timm/resnet34.ra4_e3600_r224_in1k")
        return
    config = resolve_data_config(pretrained_cfg=theirs.to_dict(), use_test_size=True)
    assert ours.reported.crop_px == config["input_size"][1]
    assert ours.reported.resize_px == int(config["input_size"][1] / config["crop_pct"])


def test_all_of_timms_weights_of_imagenet_1k_alone_are_there():
    theirs = {
        f"timm/{name}"
        for model in RESNETS
        for name in timm.list_pretrained(f"{model}.*")
        if name.endswith("_in1k") and ".fb_" not in name  # those saw a billion other images
    }
    assert set(of("timm")) == theirs


def test_the_networks_have_the_stride_where_the_judges_have_it():
    for net in (torchvision.models.resnet50(), timm.create_model("resnet50")):
        assert net.layer2[0].conv1.stride == (1, 1)
        assert net.layer2[0].conv2.stride == (2, 2)
