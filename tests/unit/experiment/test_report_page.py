"""The page of real runs, on files and on small images, and of answers worked out by hand."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pages import read
from resnets.core import artifacts
from resnets.core.errors import CheckpointError, DataError, RunError, StorageError
from resnets.data import opening, synthetic
from resnets.evaluation.answers import Answers
from resnets.evaluation.metrics import ByClass
from resnets.experiment import asking, evaluate, manifests, report_page
from resnets.experiment.evaluate import Examination
from resnets.experiment.page.story import Story
from resnets.inference import checkpoints

NASTY = ("<script>alert(1)", 'a"b&amp;c', "'x' onerror=alert(2)", "plain")
NASTY_FILE = "<img src=x onerror=alert(3)>&.png"


def write_images(folder, classes, splits):
    data = synthetic.make()
    images = iter(zip(data.train.images_nhwc, data.train.labels_n.tolist(), strict=True))
    for split, count in splits.items():
        for i in range(count):
            pixels, label = next(images)
            place = folder / split / classes[label]
            place.mkdir(parents=True, exist_ok=True)
            name = NASTY_FILE if i == 0 else f"{i}.png"
            Image.fromarray(pixels.numpy()).resize((40 + i, 64 - i)).save(place / name)
    return folder


def train(folder, out):
    words = (
        "total_steps=4",
        "data.augment.shorter_px=[36,48]",
        "data.augment.crop_px=32",
        "precision=float32",
        "schedule.every_steps=2",
        "true_averages=false",
    )
    changes = asking.Changes(model="cifar-resnet8", batch_images=5, settings=words)
    named = {"out": out, "device": "cpu", "compiling": "off"}
    return asking.start("imagenet.resnet18", folder, changes, seed=0, **named)


@pytest.fixture(scope="module")
def on_files(tmp_path_factory):
    """A run on files whose class and file names are out to break a page; not to be changed."""
    made = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(made / "cache"))
        train(write_images(made / "photos", NASTY, {"train": 24, "val": 16}), made / "run")
    return made / "run"


@pytest.fixture(scope="module")
def page_of_files(on_files):
    return read(report_page.write(on_files, device="cpu"))


@pytest.fixture(scope="module")
def story(finished):
    """What the page of the run on small images is made from."""
    folder = finished.folder
    return Story(
        name="tiny",
        checkpoint=checkpoints.newest(folder),
        manifest=manifests.read(folder),
        records=artifacts.read_lines(folder / "journal.jsonl"),
        examination=evaluate.examine(folder, device="cpu"),
        check={},
    )


def with_answers(story, scores, labels, names=None, image=None):
    """The story of other answers: of as many classes as there are scores."""
    n, k = scores.shape
    counted = ByClass.count(scores, labels).total
    checkpoint = story.checkpoint
    evaluation = replace(
        story.evaluation,
        top1_error_percent=counted.error1_percent,
        top1_interval_percent=counted.interval1_percent,
        images=n,
    )
    return replace(
        story,
        checkpoint=replace(
            checkpoint, about={**checkpoint.about, "classes": [f"class {i}" for i in range(k)]}
        ),
        examination=Examination(
            evaluation,
            Answers.of(scores, labels, torch.arange(n)),
            names or [f"{i}.jpg" for i in range(n)],
            image or (lambda index: Image.new("RGB", (200, 100), (index % 256, 0, 0))),
        ),
    )


def shown(story):
    return read(report_page.html(story))


def one_hot(predicted, classes, sure=3.0):
    return torch.nn.functional.one_hot(torch.tensor(predicted), classes).float() * sure


# Real runs.


def test_a_run_on_files_gets_a_page_with_its_result(on_files, page_of_files):
    measured = evaluate.evaluate(on_files)
    assert f"{measured.top1_error_percent:.2f} %" in page_of_files.text
    wrong = round(measured.images * measured.top1_error_percent / 100)
    assert f"{wrong} of 16 images wrong" in page_of_files.text
    assert "single-crop: shorter side 36 px" in page_of_files.text
    assert page_of_files.all("nav", "aria-label") == ["On this page"]


def test_the_page_of_a_run_shows_its_mistakes_as_pictures(on_files, page_of_files):
    found = evaluate.examine(on_files).answers
    wrong = int((~found.right_n).sum())
    assert wrong > 0
    assert page_of_files.tags.count("img") == wrong + min(12, 16 - wrong)


def test_no_name_of_a_class_or_a_file_becomes_markup(page_of_files):
    for name in (*NASTY, NASTY_FILE):
        assert name in page_of_files.text
    assert "<script" not in page_of_files.raw
    assert "<img src=x" not in page_of_files.raw


def test_the_page_says_how_to_make_the_run_again(on_files, page_of_files):
    manifest = manifests.read(on_files)
    again = page_of_files.section("again")
    for what in (
        manifest["recipe_digest"],
        manifest["data"]["digest"],
        checkpoints.newest(on_files).weights_sha256,
        manifest["provenance"]["packages"]["torch"],
        manifest["provenance"]["started"],
    ):
        assert what in again
    assert "newly initialised" in page_of_files.section("trained")
    assert "cifar-resnet8" in page_of_files.section("trained")


def test_the_data_is_checked_where_nothing_is_given(on_files, page_of_files):
    told = page_of_files.section("data")
    assert "train images 24" in told
    assert "unreadable images 0" in told


def test_a_check_that_was_made_is_told_and_not_made_again(on_files, monkeypatch):
    data = opening.open_data(on_files.parent / "photos")
    monkeypatch.setattr(type(data), "check", None)  # not to be asked
    given = {"severity": "error", "count": 3, "of": "image", "title": "in several splits"}
    path = report_page.write(on_files, data, {"findings": [given]}, device="cpu")
    page = read(path)
    assert "3 images in several splits" in page.section("data")
    assert "found 1 thing to look at" in page.section("in-short")


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run, whose folder other tests look at too."""
    return shutil.copytree(finished.folder, tmp_path / "run")


def test_a_run_on_small_images_gets_a_page_too(finished, copied):
    path = report_page.write(copied, device="cpu")
    assert path == copied / "report.html"
    page = read(path)
    assert f"{finished.top1_error_percent:.2f} %" in page.text
    assert "test error" in page.text
    assert "image " in page.section("mistakes")
    assert [each for each in page.all("img", "class") if each != "tiny"] == []


def test_the_same_run_makes_the_same_page(copied):
    first = report_page.write(copied, device="cpu").read_bytes()
    assert report_page.write(copied, device="cpu").read_bytes() == first


def test_what_was_answered_is_what_the_run_was_measured_by(finished, story):
    given = story.examination.answers
    right = 100 * (1 - given.right_n.double().mean().item())
    assert right == pytest.approx(finished.top1_error_percent)
    data = synthetic.make()
    assert torch.equal(given.labels_n, data.test.labels_n)
    pixels = np.asarray(story.examination.image(5))
    assert np.array_equal(pixels, data.test.images_nhwc[5].numpy())


def test_answers_on_files_stand_in_their_order(on_files):
    found = evaluate.examine(on_files, device="cpu")
    files = opening.open_data(on_files.parent / "photos").splits["validation"]
    assert found.names == files.names
    assert torch.equal(found.answers.labels_n, files.labels_n)
    assert found.answers.index_n.tolist() == list(range(16))
    assert found.image(3).size == files.image(3).size


# What cannot be done.


def test_an_unfinished_run_has_no_page_yet(interrupted):
    with pytest.raises(RunError, match=r"not finished; `resnets train --resume"):
        report_page.write(interrupted)
    assert not (interrupted / "report.html").exists()


def test_a_folder_without_a_run_has_no_page(tmp_path):
    with pytest.raises(RunError, match="no run in this folder"):
        report_page.write(tmp_path)


def test_data_that_is_gone_is_one_line_and_leaves_the_page_there_was(on_files, page_of_files):
    photos, page = on_files.parent / "photos", on_files / "report.html"
    before = page.read_bytes()
    photos.rename(on_files.parent / "elsewhere")
    try:
        with pytest.raises(DataError, match=r"there is none of that name; .*nor is there a folder"):
            report_page.write(on_files)
    finally:
        (on_files.parent / "elsewhere").rename(photos)
    assert page.read_bytes() == before


def test_a_damaged_checkpoint_is_one_line_and_no_page(on_files, tmp_path):
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("manifest.json", "journal.jsonl"):
        (copy / name).write_bytes((on_files / name).read_bytes())
    (copy / "model.safetensors").write_bytes((on_files / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(CheckpointError):
        report_page.write(copy)
    assert not (copy / "report.html").exists()


def test_a_page_that_cannot_be_written_leaves_the_one_before(copied, monkeypatch):
    path = report_page.write(copied, device="cpu")
    before = path.read_bytes()

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts.os, "fsync", full)
    with pytest.raises(StorageError, match="no space left"):
        report_page.write(copied, device="cpu")
    assert path.read_bytes() == before
    assert not list(copied.glob(".*.partial"))


# Answers by hand.


def test_two_classes_one_mistake(story):
    labels = torch.tensor([0] * 5 + [1] * 5)
    page = shown(with_answers(story, one_hot([0] * 5 + [1] * 4 + [0], 2), labels))
    assert "10.00 %" in page.text
    assert "Hardest class: class 1 , 1 of 5 images wrong (20.0 %)." in page.text
    assert "class 1 taken for class 0 (1 image)" in page.text
    assert page.section("mistakes").count("is class 1") == 1
    assert "9.jpg" in page.section("mistakes")
    assert page.section("classes").count("of 5") == 2


def test_no_mistakes(story):
    page = shown(with_answers(story, one_hot([0, 1, 2], 3), torch.tensor([0, 1, 2])))
    assert "None: every answer was right." in page.section("mistakes")
    assert "None: every answer was right." in page.section("confusion")
    assert "Hardest class" not in page.text
    assert "0.00 %" in page.text


def test_nothing_but_mistakes(story):
    page = shown(with_answers(story, one_hot([1, 0], 2), torch.tensor([0, 1])))
    assert "100.00 %" in page.text
    assert "unsure" not in page.raw.partition("</style>")[2]
    assert "2 of 2 images wrong" in page.text


def test_one_class(story):
    page = shown(with_answers(story, torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64)))
    assert "0 of 3 images wrong" in page.text


def test_a_thousand_classes_have_no_matrix_and_every_class_that_was_seen(story):
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(2_000) % 900
    scores = torch.randn(2_000, 1_000, generator=draw)
    scores += 3.5 * torch.nn.functional.one_hot(labels, 1_000)
    page = shown(with_answers(story, scores, labels))
    assert "matrix" not in page.raw.partition("</style>")[2]
    assert page.section("classes").count("of 2") + page.section("classes").count("of 3") >= 900
    assert "100 of the classes have no image here." in page.text
    assert "The other 860 classes" in page.text
    assert page.tags.count("img") == 24 + 12


@pytest.mark.parametrize(("classes", "matrix"), [(40, True), (41, False)])
def test_up_to_forty_classes_have_a_matrix(story, classes, matrix):
    labels = torch.arange(classes)
    page = shown(with_answers(story, one_hot([*labels.tolist()], classes), labels))
    rows = page.raw.partition('class="matrix')[2].partition("</table>")[0].count("<tr>")
    assert rows == (classes + 1 if matrix else 0)


def test_the_matrix_has_the_counts_in_their_places(story):
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    page = shown(with_answers(story, one_hot([0, 1, 1, 1, 2, 2], 3), labels))
    body = page.raw.partition('class="matrix"')[2].partition("<tbody>")[2].partition("</tbody>")[0]
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in body.split("<tr>")[1:]]
    assert cells == [["1", "2", "·"], ["·", "1", "1"], ["·", "·", "1"]]
    assert 'title="2 images of class 0: class 1"' in body


def test_scores_that_are_no_numbers_are_no_answers(story):
    scores = torch.full((4, 3), float("nan"))
    scores[0] = torch.tensor([5.0, 0.0, 0.0])
    page = shown(with_answers(story, scores, torch.tensor([0, 1, 2, 0])))
    assert "75.00 %" in page.text
    assert "no answer" in page.section("confusion")
    assert "no number" in page.section("mistakes")
    assert "3 images without a probability left out." in page.section("calibration")


def test_a_network_that_only_says_nan_has_a_page_that_says_so(story):
    scores = torch.full((4, 2), float("nan"))
    page = shown(with_answers(story, scores, torch.tensor([0, 1, 0, 1])))
    assert "its scores are no numbers" in page.text


def test_a_picture_that_cannot_be_read_any_more_leaves_its_place(on_files, tmp_path):
    folder = write_images(tmp_path / "photos", NASTY, {"train": 24, "val": 16})
    data = opening.open_data(folder)
    files = data.splits["validation"]
    wrong = evaluate.examine(on_files, data, device="cpu").answers.confident_mistakes(99)
    gone, seen = files.names[wrong[0]], []

    def read_once(index):
        if files.names[index] == gone and seen.append(index) is None and len(seen) > 1:
            raise DataError(f"{gone}: cannot be read")
        return files.read(index)

    broken = replace(files, read=read_once)
    data = replace(data, splits={**data.splits, "validation": broken})
    out = report_page.write(on_files, data, {}, device="cpu")
    page = read(out)
    assert page.text.count("cannot be read any more") == 1
    assert page.section("mistakes").count(" is ") == len(wrong)


def test_too_sure_and_not_sure_enough_are_told_apart(story):
    labels = torch.zeros(400, dtype=torch.int64)
    half = one_hot([0, 1] * 200, 2, sure=1.0)
    for factor, said in ((9.0, "surer than it should be"), (0.01, "can be believed")):
        page = shown(with_answers(story, half * factor, labels))
        assert said in page.section("in-short")
    shy = shown(with_answers(story, one_hot([0] * 400, 2, sure=0.5), labels))
    assert "less sure than it could be" in shy.section("calibration")


def test_what_a_run_began_from_is_told(story):
    for weights in ("msra/resnet50", {"name": "msra/resnet50", "sha256": "ab" * 32}):
        manifest = {**story.manifest, "weights": weights}
        told = shown(replace(story, manifest=manifest)).section("trained")
        assert "Weights it began from msra/resnet50" in told
    assert "(abababababab)" in told


def test_a_journal_without_curves_still_makes_a_page(story):
    page = shown(replace(story, records=[]))
    assert "Learning curves" in page.text


def test_a_diverged_journal_still_makes_a_page(story):
    lost = {"update": 20, "learning_rate": 0.1, "loss": "nan", "train_error_percent": "nan"}
    page = shown(replace(story, records=[*story.records, lost]))
    assert "nan" not in page.section("curves").lower()
