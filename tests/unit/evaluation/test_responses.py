import numpy as np
import pytest
import torch

from resnets.core.errors import DataError
from resnets.evaluation.responses import responses
from resnets.models import zoo
from resnets.models.spec import ResNetSpec, StageSpec, StemSpec

STAGES = (StageSpec(blocks=2, width=4, stride=1), StageSpec(blocks=1, width=6, stride=2))


def spec(shortcut="A", block="basic", imagenet=False):
    return ResNetSpec(
        stem=StemSpec(
            kernel=7 if imagenet else 3, width=4, stride=2 if imagenet else 1, pool=imagenet
        ),
        block=block,
        stages=STAGES,
        shortcut=shortcut,
        classes=10,
    )


SPECS = {
    "plain": spec("none"),
    "residual": spec("A"),
    "projections": spec("C"),
    "bottlenecks": spec("B", "bottleneck"),
    "for ImageNet": spec("B", "bottleneck", imagenet=True),
}


def expected(network, given, by_hand):
    """The standard deviation of each BN's output, over all of it at once in double precision."""
    seen = {}
    with torch.no_grad():
        for batch in given:
            for name, output in by_hand(network.eval(), batch.images_nchw)[1].items():
                seen.setdefault(name, []).append(output.double().numpy().ravel())
    return {name: np.std(np.concatenate(parts)) for name, parts in seen.items()}


@pytest.mark.parametrize("name", SPECS)
def test_responses_are_the_deviations_of_outputs_computed_by_hand(name, trained, batches, by_hand):
    network, given = trained(SPECS[name]), batches(5, 3)
    wanted = expected(network, given, by_hand)
    found = responses(network, iter(given))
    assert len(found) >= 3
    for response in found:
        assert response.std == pytest.approx(wanted[response.layer], rel=1e-9), response.layer


def test_the_layers_are_the_3x3_ones_in_order_of_depth(trained, batches):
    given = batches(1)
    assert [each.layer for each in responses(trained(SPECS["residual"]), given)] == [
        "stem.conv1",
        "stages.conv2_x.0.body.conv1",
        "stages.conv2_x.0.body.conv2",
        "stages.conv2_x.1.body.conv1",
        "stages.conv2_x.1.body.conv2",
        "stages.conv3_x.0.body.conv1",
        "stages.conv3_x.0.body.conv2",
    ]
    assert [each.layer for each in responses(trained(SPECS["for ImageNet"]), given)] == [
        "stages.conv2_x.0.body.conv2",
        "stages.conv2_x.1.body.conv2",
        "stages.conv3_x.0.body.conv2",
    ]


@pytest.mark.parametrize("kind", ["plain", "resnet", "highway"])
def test_of_20_layers_19_are_3x3_convolutions(kind, trained, batches):
    network = trained(zoo.named(f"cifar-{kind}20"))
    assert len(responses(network, batches(2))) == 19


def test_the_size_of_the_batches_changes_nothing_but_rounding(trained, batches):
    network = trained(SPECS["projections"])
    whole = responses(network, batches(12))
    for sizes in ((1,) * 12, (5, 7), (11, 1)):
        for one, other in zip(whole, responses(network, batches(*sizes)), strict=True):
            assert one.layer == other.layer
            assert one.std == pytest.approx(other.std, rel=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_the_network_stays_as_it_was(training, trained, batches):
    network = trained(SPECS["residual"]).train(training)
    network.stem.eval()  # a part in another mode
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    responses(network, batches(3))
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert not any(module._forward_hooks for module in network.modules())


def test_the_mode_before_makes_no_difference(trained, batches):
    network = trained(SPECS["residual"])
    assert responses(network.train(), batches(3)) == responses(network.eval(), batches(3))


def test_no_batch_at_all_is_refused(trained):
    with pytest.raises(DataError, match="need at least one batch of images, got none"):
        responses(trained(SPECS["plain"]), [])
