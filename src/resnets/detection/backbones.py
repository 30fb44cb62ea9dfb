"""Classification networks cut in two: what an image shares, and what runs for each region."""

from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from resnets.models import making, stages
from resnets.models.network import ResNet
from resnets.models.spec import ResNetSpec, VggSpec
from resnets.models.vgg import Vgg


class ResNetBackbone(nn.Module):
    """conv1 to conv4_x of an image; conv5_x, then the mean over space, of each region.

    The names of its tensors are those of `ResNet`, whose last layer is left out.

    Args:
        spec: The network.

    Source: He et al. 2015, appendix A.
    """

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        network = making.make(spec)
        assert isinstance(network, ResNet)
        self.stem, self.stages = network.stem, network.stages
        *shared, last = network.stages
        self._shared, self._last = tuple(shared), last
        after = spec.stages[-1].stride
        self.pooled = 7 * after  # so that conv5_x gives 7x7, as it does of 224 px
        grown = 1 if spec.block == "basic" else 4
        self.shared_channels = grown * spec.stages[-2].width
        self.channels = grown * spec.stages[-1].width

    def shared(self, images_nchw: Tensor) -> Tensor:
        """Return the map (n, `shared_channels`, h, w) that proposals and regions look at."""
        x: Tensor = self.stem(images_nchw)
        for name in self._shared:
            x = self.stages[name](x)
        return x

    def each(self, regions_rchw: Tensor) -> Tensor:
        """Return the features (r, `channels`) of regions of `pooled` by `pooled` places."""
        x: Tensor = self.stages[self._last](regions_rchw)
        return x.mean(dim=(2, 3))


class VggBackbone(nn.Module):
    """conv1_1 to conv5_3 of an image; fc6 and fc7 of each region.

    The names of its tensors are those of `Vgg`, whose last layer is left out.

    Args:
        spec: The network.

    Source: Ren et al. 2015, sec. 3.3, which shares 13 layers; He et al. 2015, appendix A.
    """

    pooled: Final = 7

    def __init__(self, spec: VggSpec) -> None:
        super().__init__()
        network = making.make(spec)
        assert isinstance(network, Vgg)
        self.stages, self.fc6, self.fc7 = network.stages, network.fc6, network.fc7
        self.dropout = network.dropout
        self.shared_channels = self.fc6.in_features // self.pooled**2
        self.channels = self.fc7.out_features

    def shared(self, images_nchw: Tensor) -> Tensor:
        """Return the map (n, `shared_channels`, h, w) that proposals and regions look at."""
        return stages.last(self.stages, images_nchw)

    def each(self, regions_rchw: Tensor) -> Tensor:
        """Return the features (r, `channels`) of regions of `pooled` by `pooled` places."""
        x = self.dropout(F.relu(self.fc6(regions_rchw.flatten(1))))
        features_rc: Tensor = self.dropout(F.relu(self.fc7(x)))
        return features_rc


class SharedLayers(nn.Module):
    """What an image shares, alone: conv1 to conv4_x, or conv1_1 to conv5_3 of a VGG.

    The names of its tensors are those of the network.

    Args:
        spec: The network.
    """

    def __init__(self, spec: ResNetSpec | VggSpec) -> None:
        super().__init__()
        whole = make(spec)
        self.channels = whole.shared_channels
        self.stem: nn.Module = nn.Identity()
        self.stages = whole.stages
        if isinstance(whole, ResNetBackbone):
            self.stem = whole.stem
            *_, last = whole.stages
            del self.stages[last]

    def forward(self, images_nchw: Tensor) -> Tensor:
        return stages.last(self.stages, self.stem(images_nchw))


Backbone = ResNetBackbone | VggBackbone


def make(spec: ResNetSpec | VggSpec) -> Backbone:
    """Return the backbone of a network."""
    return ResNetBackbone(spec) if isinstance(spec, ResNetSpec) else VggBackbone(spec)
