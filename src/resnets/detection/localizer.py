"""The network that localizes: proposals of every class by itself, on the shared map."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.detection import backbones
from resnets.detection.proposals import HIDDEN
from resnets.detection.spec import LocalizerSpec


@dataclass(frozen=True, slots=True)
class PerClass:
    """What is said of every anchor of each image, for the classes that were asked for; float32.

    Args:
        logits_ngyxa: Whether it holds an object of the class.
        deltas_ngyxa4: Where that stands, as `boxes.encode` writes it.
    """

    logits_ngyxa: Tensor
    deltas_ngyxa4: Tensor


class Localizer(nn.Module):
    """A per-class RPN: a 3x3 convolution, then two sibling 1x1 ones with outputs for each class.

    Of these only what belongs to the classes that are asked for is computed: of one class in
    training, of an image's guesses in testing.

    Args:
        spec: The network.

    Source: He et al. 2015, appendix C; Ren et al. 2015, sec. 3.1.
    """

    def __init__(self, spec: LocalizerSpec) -> None:
        super().__init__()
        self.spec = spec
        outputs = spec.classes * len(spec.anchors)
        self.backbone = backbones.SharedLayers(spec.backbone)
        self.conv = nn.Conv2d(self.backbone.channels, HIDDEN, 3, padding=1)
        self.scores = nn.Conv2d(HIDDEN, outputs, 1)
        self.deltas = nn.Conv2d(HIDDEN, 4 * outputs, 1)

    def forward(self, images_nchw: Tensor, classes_ng: Tensor) -> PerClass:
        """Return what is said of each anchor.

        Args:
            images_nchw: Of any size.
            classes_ng: int64: of each image the classes that are asked for.
        """
        x = F.relu(self.conv(self.backbone(images_nchw)))
        logits_nyxgk = self._of_classes(self.scores, x, classes_ng)
        deltas_nyxgk = self._of_classes(self.deltas, x, classes_ng)
        return PerClass(
            logits_nyxgk.permute(0, 3, 1, 2, 4).float(),
            deltas_nyxgk.unflatten(4, (-1, 4)).permute(0, 3, 1, 2, 4, 5).float(),
        )

    def _of_classes(self, layer: nn.Conv2d, x: Tensor, classes_ng: Tensor) -> Tensor:
        """Return a 1x1 convolution's outputs for some classes of each image, (n, y, x, g, k).

        A class has k outputs, which follow each other.
        """
        assert layer.bias is not None
        weight_ngkc = layer.weight.view(self.spec.classes, -1, layer.in_channels)[classes_ng]
        bias_ngk = layer.bias.view(self.spec.classes, -1)[classes_ng]
        images, guesses, outputs = bias_ngk.shape
        places_npc = x.permute(0, 2, 3, 1).flatten(1, 2)
        made_npo = places_npc @ weight_ngkc.flatten(1, 2).transpose(1, 2)
        made_npo = made_npo + bias_ngk.flatten(1)[:, None]
        return made_npo.view(images, *x.shape[2:], guesses, outputs)


def new_layers_init(localizer: Localizer, generator: torch.Generator) -> None:
    """Draw the layers that a classification network does not have: N(0, 0.01^2).

    Source: Ren et al. 2015, sec. 3.1.3.
    """
    for layer in (localizer.conv, localizer.scores, localizer.deltas):
        nn.init.normal_(layer.weight, std=0.01, generator=generator)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
