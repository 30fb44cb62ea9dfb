import pytest
import torch
import torch.nn.functional as F

from resnets.core.errors import ModelError
from resnets.detection.anchors import AnchorSpec
from resnets.detection.localizer import Localizer
from resnets.detection.spec import LocalizerSpec
from resnets.models import making, zoo

IMAGES = torch.randn(2, 3, 70, 100, generator=torch.Generator().manual_seed(3))


def test_the_classes_that_are_asked_for_say_what_two_convolutions_say_of_them(localizer):
    """The sibling layers as the paper has them: 1x1 convolutions with outputs for each class."""
    asked_ng = torch.tensor([[4, 0], [2, 2]])
    with torch.no_grad():
        said = localizer(IMAGES, asked_ng)
        x = F.relu(localizer.conv(localizer.backbone(IMAGES)))
        logits = localizer.scores(x).unflatten(1, (5, 6))
        deltas = localizer.deltas(x).unflatten(1, (5, 6, 4))
    for n, classes in enumerate(asked_ng.tolist()):
        for g, label in enumerate(classes):
            torch.testing.assert_close(
                said.logits_ngyxa[n, g], logits[n, label].permute(1, 2, 0), rtol=1e-4, atol=1e-4
            )
            torch.testing.assert_close(
                said.deltas_ngyxa4[n, g], deltas[n, label].permute(2, 3, 0, 1), rtol=1e-4, atol=1e-4
            )


def test_only_the_class_that_is_asked_for_gets_a_gradient(localizer):
    said = localizer(IMAGES, torch.tensor([[1], [3]]))
    (said.logits_ngyxa.sum() + said.deltas_ngyxa4.sum()).backward()
    for layer in (localizer.scores, localizer.deltas):
        of_class = layer.weight.grad.unflatten(0, (5, -1)).flatten(1).abs().sum(1)
        assert (of_class > 0).tolist() == [False, True, False, True, False]


@pytest.mark.parametrize(
    ("name", "channels", "left"),
    [
        ("resnet101", 1024, ("stages.conv5_x.", "head.")),
        ("vgg16", 512, ("fc6.", "fc7.", "head.")),
    ],
)
def test_the_papers_localizer_has_1000_logits_and_4000_numbers_an_anchor(name, channels, left):
    spec = LocalizerSpec(backbone=zoo.named(name), classes=1000)
    with torch.device("meta"):
        made = Localizer(spec).eval()
        said = made(torch.empty(2, 3, 224, 224), torch.zeros(2, 5, dtype=torch.int64))
        whole = making.make(zoo.named(name)).state_dict()
    anchors = len(spec.anchors)
    assert made.scores.out_channels == 1000 * anchors
    assert made.deltas.out_channels == 4 * 1000 * anchors
    assert made.backbone.channels == channels
    assert said.logits_ngyxa.shape == (2, 5, 14, 14, anchors)
    assert said.deltas_ngyxa4.shape == (2, 5, 14, 14, anchors, 4)
    own = {name: tensor.shape for name, tensor in made.backbone.state_dict().items()}
    assert own.items() <= {name: tensor.shape for name, tensor in whole.items()}.items()
    assert all(each.startswith(left) for each in whole.keys() - own.keys())
    assert not any(each.startswith(left) for each in own)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"classes": 0}, "model.classes: must be positive"),
        ({"backbone": zoo.named("cifar-resnet20")}, "one for small images"),
        ({"anchors": AnchorSpec(stride_px=32)}, "the shared map of this network has 16"),
    ],
)
def test_what_cannot_be_a_localizer_is_refused(changes, told):
    given = {"backbone": zoo.named("resnet50"), "classes": 10}
    with pytest.raises(ModelError, match=told):
        LocalizerSpec(**{**given, **changes})
