import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from resnets.core.errors import ImageError
from resnets.data.files import ImageFiles
from resnets.data.preprocess import Preprocess
from resnets.evaluation.central_view import CentralView

CPU = torch.device("cpu")
WANTED = Preprocess(resize_px=4, crop_px=2, mean=None, std=(1.0, 1.0, 1.0))


class Reader(nn.Module):
    """Reads the class that the middle of an image holds; in training mode it guesses class 0."""

    def forward(self, images_nchw):
        assert images_nchw.shape[1:] == (3, 2, 2)
        scores = -((images_nchw[:, :1, 0, 0] + 0.5) * 255 - torch.arange(10.0)).abs()
        return torch.zeros_like(scores) if self.training else scores


def files(said, labels):
    """Images of 4 x 6 pixels, white but for the four in the middle."""
    contents = []
    for value in said:
        pixels = np.full((6, 4, 3), 255, dtype=np.uint8)
        pixels[2:4, 1:3] = value
        made = io.BytesIO()
        Image.fromarray(pixels).save(made, "PNG")
        contents.append(made.getvalue())
    names = tuple(f"{i}.png" for i in range(len(said)))
    return ImageFiles(names, torch.tensor(labels), lambda i: contents[i])


def view(images):
    mean_hwc = torch.full((2, 2, 3), 0.5)
    return CentralView("validation", images, 10, WANTED, mean_hwc, CPU)


def test_the_central_square_less_the_mean_is_counted_exactly_in_evaluation_mode():
    model = Reader().train()
    measured = dict(view(files([3, 4, 0, 9], [3, 5, 0, 2])).run(model))
    assert not model.training
    assert measured == {
        "validation_top1_error_percent": 50.0,
        "validation_top5_error_percent": 25.0,
        "validation_images": 4,
    }


def test_more_images_than_are_scored_together_are_all_counted():
    said = [i % 10 for i in range(50)]
    counted = view(files(said, [*said[:40], *[(i + 1) % 10 for i in said[40:]]])).count(Reader())
    assert (counted.images, counted.hit1) == (50, 40)


def test_an_image_that_cannot_be_decoded_is_named():
    images = files([1, 2], [1, 2])
    broken = ImageFiles(images.names, images.labels_n, lambda i: b"")
    with pytest.raises(ImageError, match=r"^0\.png: not an image"):
        view(broken).count(Reader())
