import json

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.core.errors import CheckpointError, ImageError, ResNetsError
from resnets.data import batches, images, synthetic
from resnets.inference import checkpoints, predictor


@pytest.fixture(scope="module")
def classifier(finished):
    return predictor.load(finished, "cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three of the synthetic test images as files."""
    folder = tmp_path_factory.mktemp("images")
    paths = []
    for number in range(3):
        paths.append(folder / f"{number}.png")
        Image.fromarray(synthetic.make().test.images_nhwc[number].numpy()).save(paths[-1])
    return paths


def test_the_probabilities_of_all_classes_sum_to_1_most_probable_first(classifier, files):
    for found in classifier.predict(files, top=4):
        probabilities = [prediction.probability for prediction in found]
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=4e-7)  # four float32 between 0 and 1
        assert {p.class_index for p in found} == {0, 1, 2, 3}
        assert all(p.class_name == classifier.classes[p.class_index] for p in found)


def test_as_many_classes_are_named_as_asked_for_and_there_are(classifier, files):
    whole = classifier.predict(files, top=4)
    for top in (1, 2, 4, 5, 1000):
        found = classifier.predict(files, top=top)
        assert [len(predictions) for predictions in found] == [min(top, 4)] * 3
        assert found == [predictions[:top] for predictions in whole]
    assert classifier.predict(files) == [predictions[:1] for predictions in whole]


def test_every_file_is_answered_in_the_order_it_was_given_by_the_name_it_was_given(
    classifier, files
):
    asked = [files[2], str(files[0]), files[2]]
    found = classifier.predict(asked)
    assert [predictions[0].file for predictions in found] == [str(file) for file in asked]
    assert found[0] == found[2]
    assert classifier.predict([]) == []


@pytest.mark.parametrize("top", [0, -1])
def test_fewer_than_one_class_is_refused(classifier, files, top):
    with pytest.raises(ResNetsError, match=f"--top: must be at least 1, got {top}"):
        classifier.predict(files, top=top)


def test_the_answer_is_what_the_network_says_of_the_pixels_less_the_training_mean(
    classifier, finished
):
    pixels = synthetic.make().test.images_nhwc[:5]
    network = checkpoints.newest(finished).network()
    ready = batches.prepare(pixels, batches.mean_image(synthetic.make().train))
    with torch.inference_mode():
        expected = network(ready).softmax(1)
    assert torch.equal(classifier.probabilities(pixels), expected)


def test_an_image_of_any_size_is_cut_to_what_the_network_was_trained_on(classifier, tmp_path):
    assert classifier.side_px == 32
    draw = np.random.default_rng(0)
    for size in ((32, 32), (100, 60), (20, 31), (1, 1)):
        pixels = draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        (found,) = classifier.predict([tmp_path / "a.png"], top=4)
        seen = torch.from_numpy(images.centre(Image.fromarray(pixels), 32))[None]
        scores = classifier.probabilities(seen)[0]
        assert [p.probability for p in found] == scores.sort(descending=True).values.tolist()


def test_predicting_leaves_the_network_as_it_was(classifier, files):
    before = checkpoints.artifacts.sha256_of(classifier.network.state_dict())
    classifier.predict(files)
    assert checkpoints.artifacts.sha256_of(classifier.network.state_dict()) == before
    assert not classifier.network.training


def test_a_file_that_is_no_image_is_refused_naming_it(classifier, files, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ImageError, match=r"notes\.txt"):
        classifier.predict([files[0], tmp_path / "notes.txt"])


def test_a_prediction_as_json_has_the_keys_people_were_told(classifier, files):
    (found,) = classifier.predict(files[:1])
    told = json.loads(json.dumps(found[0].to_dict()))
    assert set(told) == {"file", "class", "class_index", "probability"}
    assert told["class"] == classifier.classes[told["class_index"]]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in this folder"):
        predictor.load(tmp_path)


def test_a_device_that_is_not_here_is_refused(finished):
    with pytest.raises(ResNetsError, match="--device cuda:99: this machine has cpu"):
        predictor.load(finished, "cuda:99")
