"""What a detector is, as a value: Faster R-CNN of any of the paper's networks."""

from typing import Literal

from resnets.core.errors import ModelError
from resnets.core.spec import spec
from resnets.detection.anchors import VOC, AnchorSpec
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
        if self.classes < 1:
            raise ModelError(f"model.classes: must be positive, got {self.classes}")
        if isinstance(self.backbone, ResNetSpec) and (
            not self.backbone.stem.pool or len(self.backbone.stages) < 2
        ):
            raise ModelError(
                "model.backbone: a detector needs a network for photos, such as resnet50; got one "
                "for small images"
            )
        if self.anchors.stride_px != self.stride:
            raise ModelError(
                f"model.anchors.stride_px: the shared map of this network has {self.stride}, got "
                f"{self.anchors.stride_px}"
            )

    @property
    def stride(self) -> int:
        """Pixels of the image for one of the shared map."""
        if isinstance(self.backbone, VggSpec):
            return 16  # four of its five pools come before conv5_3
        return self.backbone.total_stride // self.backbone.stages[-1].stride
