"""What a detector or a localizer is, as a value: one of any of the paper's networks."""

from typing import Literal

from resnets.core.errors import ModelError
from resnets.core.spec import spec
from resnets.detection.anchors import LOCALIZATION, VOC, AnchorSpec
from resnets.models.spec import ResNetSpec, VggSpec


@spec
class FasterRCNNSpec:
    """Faster R-CNN: proposals and regions on the shared features of a classification network.

    Args:
        backbone: The network; its own last layer is not there.
        classes: What is detected; background is none of them and has no number.
        anchors: Of the proposals.
        aligned: RoIAlign in the place of RoI pooling: a deviation.
        global_context: Whether each region is judged beside the whole image (appendix B).

    Source: He et al. 2015, sec. 4.3, appendix A; Ren et al. 2015.
    """

    kind: Literal["faster-rcnn"] = "faster-rcnn"
    backbone: ResNetSpec | VggSpec
    classes: int
    anchors: AnchorSpec = VOC
    aligned: bool = False
    global_context: bool = False

    def __post_init__(self) -> None:
        _check(self.backbone, self.classes, self.anchors)

    @property
    def stride(self) -> int:
        """Pixels of the image for one of the shared map."""
        return _stride(self.backbone)


@spec
class LocalizerSpec:
    """A proposal network that asks for every class by itself whether an anchor holds an object.

    Args:
        backbone: The network, of which the shared layers are there alone.
        classes: What is localized.
        anchors: Where it looks.

    Source: He et al. 2015, appendix C.
    """

    kind: Literal["localizer"] = "localizer"
    backbone: ResNetSpec | VggSpec
    classes: int
    anchors: AnchorSpec = LOCALIZATION

    def __post_init__(self) -> None:
        _check(self.backbone, self.classes, self.anchors)


def _check(backbone: ResNetSpec | VggSpec, classes: int, anchors: AnchorSpec) -> None:
    if classes < 1:
        raise ModelError(f"model.classes: must be positive, got {classes}")
    if isinstance(backbone, ResNetSpec) and (not backbone.stem.pool or len(backbone.stages) < 2):
        raise ModelError(
            "model.backbone: a detector needs a network for photos, such as resnet50; got one "
            "for small images"
        )
    stride = _stride(backbone)
    if anchors.stride_px != stride:
        raise ModelError(
            f"model.anchors.stride_px: the shared map of this network has {stride}, got "
            f"{anchors.stride_px}"
        )


def _stride(backbone: ResNetSpec | VggSpec) -> int:
    if isinstance(backbone, VggSpec):
        return 16  # four of its five pools come before conv5_3
    return backbone.total_stride // backbone.stages[-1].stride
