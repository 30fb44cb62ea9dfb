import json

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.core.errors import CheckpointError, ImageError, ResNetsError
from resnets.data import batches, images, preprocess, synthetic
from resnets.inference import checkpoints, loading, pictures, predictor
from resnets.inference.pictures import Picture
from resnets.inference.predictor import Classifier


@pytest.fixture(scope="module")
def classifier(finished):
    return loading.load(finished, "cpu")


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
    plain = Classifier(checkpoints.newest(finished), torch.device("cpu"), fuse=False)
    assert torch.equal(plain.logits(pixels).softmax(1), expected)
    found = classifier.logits(pixels).softmax(1)  # BN folded into the convolutions
    assert found.tolist() == [pytest.approx(row, abs=1e-5) for row in expected.tolist()]


def test_an_image_of_any_size_is_cut_to_what_the_network_was_trained_on(classifier, tmp_path):
    wanted = classifier.checkpoint.preprocess
    assert wanted.resize_px == wanted.crop_px == 32
    draw = np.random.default_rng(0)
    for size in ((32, 32), (100, 60), (20, 31), (1, 1)):
        pixels = draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        (found,) = classifier.predict([tmp_path / "a.png"], top=4)
        seen = torch.from_numpy(preprocess.central(Image.fromarray(pixels), wanted))[None]
        scores = classifier.logits(seen).softmax(1)[0]
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


# Pictures one after the other, good and bad.


def test_a_picture_that_cannot_be_decoded_takes_no_other_ones_answer(classifier, files, tmp_path):
    (tmp_path / "bad.png").write_text("hello")
    bad = tmp_path / "bad.png"
    asked = [bad, *files, bad, *files * 6, bad]  # more than are scored together, all kinds of mix
    found = list(classifier.stream(pictures.file(path) for path in asked))
    assert len(found) == len(asked) > predictor._TOGETHER
    alone = {path: classifier.predict([path])[0][0] for path in files}
    for path, answer in zip(asked, found, strict=True):
        if path == bad:
            assert isinstance(answer, ImageError)
            assert str(answer).startswith(f"{bad}: ")
        else:
            assert answer[0].file == str(path)
            assert answer[0].class_index == alone[path].class_index
            assert answer[0].probability == pytest.approx(alone[path].probability, abs=1e-5)


def test_a_stream_of_only_bad_pictures_and_of_none_ends(classifier, tmp_path):
    assert list(classifier.stream([])) == []
    missing = [pictures.file(tmp_path / f"{i}.png") for i in range(40)]
    found = list(classifier.stream(missing))
    assert all(isinstance(answer, ImageError) for answer in found)
    assert len(found) == 40


def test_a_stream_reads_a_few_pictures_ahead_and_no_more(classifier):
    read = []

    def picture(i):
        def decode():
            read.append(i)
            return Image.new("RGB", (32, 32), (i, i, i))

        return Picture(str(i), decode)

    for i, answer in enumerate(classifier.stream(picture(i) for i in range(100))):
        assert answer[0].file == str(i)
        assert len(read) <= i + predictor._TOGETHER
    assert sorted(read) == list(range(100))


# Scores of views, for evaluation.


@pytest.fixture(scope="module")
def views():
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=draw)


def test_log_scores_are_the_logarithms_of_the_probabilities(classifier, views):
    scores = classifier.log_scores(views)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.exp(), classifier.logits(views).softmax(1))
    assert scores.exp().sum(1).tolist() == pytest.approx([1] * 3, abs=1e-6)


def test_the_score_map_of_a_view_of_the_networks_size_is_its_scores(classifier, views):
    found = classifier.log_score_map(views)
    assert found.shape == (3, 4, 1, 1)
    torch.testing.assert_close(found[..., 0, 0], classifier.log_scores(views), atol=1e-5, rtol=1e-5)


def test_the_score_map_is_the_softmax_at_every_place_of_a_larger_image(finished, classifier):
    draw = torch.Generator().manual_seed(1)
    whole = torch.randint(0, 256, (2, 44, 56, 3), dtype=torch.uint8, generator=draw)
    checkpoint = checkpoints.newest(finished)
    network = checkpoint.network()
    # The mean of every pixel is of another size: its mean over space takes its place.
    ready = batches.prepare(whole, checkpoint.mean_hwc.mean((0, 1), keepdim=True))
    with torch.inference_mode():
        scores = network.score_map(ready).softmax(1)
    assert scores.shape == (2, 4, 4, 7)
    found = classifier.log_score_map(whole).exp()
    torch.testing.assert_close(found, scores, atol=1e-5, rtol=1e-5)


def test_bfloat16_scores_are_float32_and_close(finished, classifier, views):
    half = Classifier(checkpoints.newest(finished), torch.device("cpu"), "bfloat16")
    for found, expected in (
        (half.log_scores(views), classifier.log_scores(views)),
        (half.log_score_map(views), classifier.log_score_map(views)),
    ):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.exp(), expected.exp(), atol=0.03, rtol=0)


# Where a class was seen.


def test_an_explanation_is_of_the_most_probable_class_or_of_the_one_asked_for(classifier, files):
    (said,) = classifier.predict(files[:1], top=4)
    found = classifier.explain(files[0])
    assert (found.file, found.class_name) == (str(files[0]), said[0].class_name)
    for prediction in said:
        other = classifier.explain(str(files[0]), prediction.class_index)
        assert other.class_index == prediction.class_index
        assert other.class_name == prediction.class_name
        assert other.probability == pytest.approx(prediction.probability, abs=1e-5)
    read = images.read_rgb(files[0])
    assert classifier.explain(Picture("mine", lambda: read)).file == "mine"


@pytest.mark.parametrize("index", [-1, 4, 1000])
def test_a_class_that_is_not_there_cannot_be_explained(classifier, files, index):
    with pytest.raises(ResNetsError, match=f"^class {index}: this network has 4 classes, from 0$"):
        classifier.explain(files[0], index)


def test_an_image_that_cannot_be_decoded_cannot_be_explained(classifier, tmp_path):
    with pytest.raises(ImageError, match="there is no such file"):
        classifier.explain(tmp_path / "none.png")


def test_a_prediction_as_json_has_the_keys_people_were_told(classifier, files):
    (found,) = classifier.predict(files[:1])
    told = json.loads(json.dumps(found[0].to_dict()))
    assert set(told) == {"file", "class", "class_index", "probability"}
    assert told["class"] == classifier.classes[told["class_index"]]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in this folder"):
        loading.load(tmp_path)


def test_a_device_that_is_not_here_is_refused(finished):
    with pytest.raises(ResNetsError, match="--device cuda:99: this machine has cpu"):
        loading.load(finished, "cuda:99")


def test_a_network_whose_answers_are_no_numbers_is_refused(finished, files):
    made = loading.load(finished, "cpu")
    made.network.head.bias.data[0] = float("nan")
    with pytest.raises(CheckpointError, match="its weights are broken"):
        made.predict(files)


def test_one_file_need_not_be_a_list(classifier, files):
    assert classifier.predict(files[0]) == classifier.predict([files[0]])
    assert classifier.predict(str(files[0])) == classifier.predict([files[0]])
