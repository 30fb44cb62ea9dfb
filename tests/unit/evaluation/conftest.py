"""Small networks as training leaves them, images, and a network run by hand."""

import pytest
import torch
import torch.nn.functional as F

import samples
from resnets.data.batches import Batch


@pytest.fixture
def trained():
    return samples.trained


@pytest.fixture
def batches():
    """Return batches of those sizes, and always the same images in the same order."""

    def make(*sizes, side=16, classes=10):
        draw = torch.Generator().manual_seed(1)
        images = torch.randn(sum(sizes), 3, side, side, generator=draw)
        labels = torch.randint(classes, (sum(sizes),), generator=draw)
        return [
            Batch(*both)
            for both in zip(images.split(list(sizes)), labels.split(list(sizes)), strict=True)
        ]

    return make


@pytest.fixture
def by_hand():
    """Run a network without hooks; return its logits, and the output of each BN by its place."""

    def run(network, x):
        outputs = {}
        x = outputs["stem.conv1"] = network.stem.bn1(network.stem.conv1(x))
        x = F.relu(x)
        if network.spec.stem.pool:
            x = network.stem.pool(x)
        for name, stage in network.stages.items():
            for i, block in enumerate(stage):
                place, body = f"stages.{name}.{i}.body", block.body
                y = outputs[f"{place}.conv1"] = body.bn1(body.conv1(x))
                y = outputs[f"{place}.conv2"] = body.bn2(body.conv2(F.relu(y)))
                if hasattr(body, "conv3"):
                    y = outputs[f"{place}.conv3"] = body.bn3(body.conv3(F.relu(y)))
                if block.shortcut is not None:
                    y = y + block.shortcut(x)
                x = F.relu(y)
        outputs["head"] = network.head(x.mean((2, 3)))
        return outputs["head"], outputs

    return run
