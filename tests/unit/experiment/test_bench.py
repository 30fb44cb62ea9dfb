import json

import pytest

from resnets.core.errors import ModelError, RecipeError
from resnets.experiment import bench


def test_a_network_is_timed_in_images_a_second_with_the_spread():
    told = json.loads(json.dumps(bench.measure("cifar-resnet8", batch_images=2, device="cpu")))
    assert {"model", "batch_images", "image_px", "device", "processor", "precision"} <= set(told)
    assert (told["model"], told["batch_images"], told["image_px"]) == ("cifar-resnet8", 2, 32)
    for what in ("training_images_per_second", "inference_images_per_second"):
        rates = told[what]
        assert set(rates) == {"median", "slowest", "fastest"}
        assert 0 < rates["slowest"] <= rates["median"] <= rates["fastest"]


def test_an_unknown_network_or_an_empty_batch_is_refused():
    with pytest.raises(ModelError, match="cifar-resnet20"):
        bench.measure("cifar-resnet-20")
    for batch_images in (0, -1):
        with pytest.raises(RecipeError, match=f"--batch-size: must be .*got {batch_images}$"):
            bench.measure("cifar-resnet8", batch_images=batch_images)
