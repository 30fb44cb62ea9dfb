import pytest
import torch
from torch import nn

from resnets.data import batches
from resnets.data.sets import ImageSet
from resnets.evaluation.metrics import TopK
from resnets.evaluation.single_view import SingleView


class Reader(nn.Module):
    """Reads the class that an image's first pixel holds; in training mode it guesses class 0."""

    def forward(self, images_nchw):
        scores = -(images_nchw[:, :1, 0, 0] - torch.arange(10.0) / 255).abs()
        return torch.zeros_like(scores) if self.training else scores


def images_saying(said, labels):
    pixels = torch.tensor(said, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 2, 2, 3)
    return ImageSet(pixels, torch.tensor(labels))


def view(images, batch_images):
    mean_hwc = torch.zeros(2, 2, 3)
    device = torch.device("cpu")
    return SingleView(
        "test",
        lambda: batches.in_order(images, mean_hwc, batch_images=batch_images, device=device),
    )


@pytest.mark.parametrize("batch_images", [1, 3, 4, 7, 100])
def test_the_counts_are_exact_whatever_the_size_of_the_last_batch(batch_images):
    images = images_saying([0, 1, 2, 3, 4, 5, 9], [0, 1, 2, 9, 6, 5, 0])
    found = view(images, batch_images).count(Reader())
    # 3 for 9 is far off, 4 for 6 is third, 9 for 0 is last.
    assert found == TopK(images=7, hit1=4, hit5=5)


def test_running_gives_the_errors_and_the_number_of_images_under_the_splits_name():
    images = images_saying([0, 1, 2, 3], [0, 1, 2, 9])
    found = dict(view(images, 3).run(Reader()))
    assert found == {
        "test_top1_error_percent": 25.0,
        "test_top5_error_percent": 25.0,
        "test_images": 4,
    }
    named = SingleView("validation", view(images, 3).batches)
    assert [name.split("_")[0] for name, _ in named.run(Reader())] == ["validation"] * 3


def test_a_network_is_evaluated_in_evaluation_mode_and_without_gradients():
    seen = []

    class Watched(Reader):
        def forward(self, images_nchw):
            seen.append((self.training, torch.is_inference_mode_enabled()))
            return super().forward(images_nchw)

    network = Watched().train()
    view(images_saying([1, 2, 3], [1, 2, 3]), 2).count(network)
    assert seen == [(False, True)] * 2
    assert not network.training


def test_the_same_split_can_be_counted_again():
    once = view(images_saying([1, 2, 3], [1, 2, 4]), 2)
    assert once.count(Reader()) == once.count(Reader())
