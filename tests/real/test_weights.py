"""Other people's weights through convert and evaluate: the errors they are known to have."""

from pathlib import Path

import pytest

from resnets.experiment import evaluate
from resnets.inference import converting
from resnets.models import zoo

pytestmark = pytest.mark.real

SHARED = Path(__file__).parents[3] / "shared" / "data"
# Published with them (shared/data/README.md).
CIFAR = {"resnet20-12fca82f": 8.27, "resnet32-d509ac18": 7.37}


@pytest.fixture(scope="module")
def akamasters(tmp_path_factory):
    """Both CIFAR networks converted, by the names of their files."""
    at = tmp_path_factory.mktemp("akamaster")
    made = {}
    for name in CIFAR:
        file = SHARED / "cifar-weights" / f"{name}.th"
        if not file.is_file():
            pytest.fail(f"{file} is missing; it holds the weights of these tests")
        made[name] = converting.convert(
            file, at / f"{name}.safetensors", preprocess="torchvision"
        ).path
    return made


@pytest.fixture(scope="module")
def alone(akamasters, whole):
    """The error of each in percent."""
    return {
        name: evaluate.evaluate(path, whole, device="cpu").top1_error_percent
        for name, path in akamasters.items()
    }


@pytest.mark.parametrize("name", CIFAR)
def test_akamasters_networks_have_their_published_error_on_all_of_cifar10(name, alone):
    assert alone[name] == pytest.approx(CIFAR[name], abs=0.05)


def test_their_ensemble_is_better_than_either(akamasters, alone, whole):
    found = evaluate.evaluate(list(akamasters.values()), whole, device="cpu")
    assert found.images == 10_000
    assert found.protocol.startswith("ensemble of 2, mean of softmax, cifar10 test, ")
    assert found.top1_error_percent < min(alone.values())


# Measured by someone else with other code (shared/data/README.md).
VIEWS = {None: (18.77, 3.23), "caffe,resize=227": (18.62, 3.54)}


@pytest.mark.parametrize("said", VIEWS, ids=["256 px", "227 px"])
def test_the_authors_resnet_50_has_the_error_others_found_on_650_images(said, fetched, tmp_path):
    if not (SHARED / "imagenet-val-650" / "labels.csv").is_file():
        pytest.fail(f"{SHARED / 'imagenet-val-650'} is missing; it holds the images of this test")
    made = converting.convert(fetched, tmp_path / "msra.safetensors", preprocess=said)
    assert made.spec == zoo.named("resnet50")
    assert made.about["source"]["published"] == "msra/resnet50"
    found = evaluate.evaluate(made.path, SHARED / "imagenet-val-650", device="cpu")
    top1, top5 = VIEWS[said]
    assert found.images == 650
    assert found.top1_error_percent == pytest.approx(top1, abs=0.3)
    assert found.top5_error_percent == pytest.approx(top5, abs=0.3)
    side = 256 if said is None else 227
    assert f"shorter side {side} px (bilinear with antialiasing), central 224 px" in found.protocol
