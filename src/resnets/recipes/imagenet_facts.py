"""What the recipes for ImageNet have in common: how many images there are, and what they cost."""

import math
from typing import Final

IMAGES: Final = 1_281_167  # in the training set of ILSVRC 2012
BOXED_IMAGES: Final = 523_966  # of these have boxes: Russakovsky et al. 2015, sec. 3

# Images a second on one RTX 3090, training at 224 px in mixed precision, by depth: timm's
# results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv.
_IMAGES_PER_SECOND: Final = {18: 3481.78, 34: 2036.51, 50: 1218.01, 101: 747.89, 152: 501.0}


def steps(epochs: float, batch_images: int) -> int:
    """Return after how many updates so many epochs are done, in batches that are all whole."""
    return math.ceil(epochs * IMAGES / batch_images)


def cost(depth: int, epochs: float, image_px: int = 224) -> str:
    """Return what a network of Table 1 costs to train, reckoned from what timm measured.

    The time is taken to grow with the area of the images.
    """
    rate = _IMAGES_PER_SECOND[depth]
    hours = epochs * IMAGES * (image_px / 224) ** 2 / rate / 3600
    return (
        f"{hours:.0f} hours on an RTX 3090, reckoned from the {rate:,.0f} images/s at 224 px in "
        "mixed precision that timm measured"
    )
