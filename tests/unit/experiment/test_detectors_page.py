"""The page of a detector's run: of a real one, and of findings that were made up."""

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import samples
import scenes
from pages import Page, read
from resnets.core.errors import DataError
from resnets.core.random import generator
from resnets.data.annotated import AnnotatedFiles, DetectionData
from resnets.data.preprocess import Preprocess
from resnets.detection.scoring import Scoring
from resnets.experiment import evaluate_detectors, manifests, report_page, run
from resnets.experiment.page import boxes
from resnets.experiment.page.detector_story import DetectorStory
from resnets.experiment.page.story import percent
from resnets.experiment.transfer import Weights
from resnets.inference import checkpoints
from resnets.inference.checkpoints import Checkpoint
from resnets.models import making
from resnets.models.network import he_init

NASTY = ("<script>alert(1)", 'a"b&amp;c')
NASTY_FILE = "<img src=x onerror=alert(3)>&.png"
CAT, DOG = 0, 1
BACKBONE = samples.small_resnet()
RECIPE = samples.shapes_recipe(64, 96, updates=4)


def made_up(files):
    """The same files, the first with a name that is out to break a page."""
    names = (NASTY_FILE, *files.names[1:])
    return AnnotatedFiles(names, names, files.objects, files.read)


@pytest.fixture(scope="module")
def data():
    return DetectionData(
        name="shapes",
        where="shapes",
        classes=NASTY,
        category_ids=(1, 2),
        splits={"train": samples.shapes(4), "validation": made_up(samples.shapes(3, seed=1))},
    )


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    network = making.make(BACKBONE)
    he_init(network, generator(0, "init"))
    found = Checkpoint(
        path=Path("weights.safetensors"),
        about={"classes": list("abcde"), "update": 7},
        spec=BACKBONE,
        preprocess=Preprocess(resize_px=36, crop_px=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)),
        mean_hwc=torch.tensor((0.5, 0.4, 0.3)).view(1, 1, 3),
        recipe=None,
        model=network.state_dict(),
        optimizer={},
    )
    return run.start(
        RECIPE,
        data,
        name="shapes",
        out=tmp_path_factory.mktemp("runs") / "shapes",
        device="cpu",
        weights=Weights("weights.safetensors", found),
        workers=1,
    )


@pytest.fixture(scope="module")
def story(finished, data):
    checkpoint = checkpoints.read(finished.folder / "model.safetensors")
    return DetectorStory(
        name="shapes",
        checkpoint=checkpoint,
        manifest=manifests.read(finished.folder),
        records=[
            {"update": 2, "loss": 3.5, "region_class_loss": 2.0, "learning_rate": 0.02},
            {"update": 4, "loss": 1.25, "region_class_loss": 0.5, "learning_rate": 0.01},
            {"update": 4, "validation_ap50_percent": 61.5, "validation_images": 3},
        ],
        examination=evaluate_detectors.examine(checkpoint, data, device="cpu"),
        check={},
    )


def with_found(story, found, objects, classes=("cat", "dog")):
    """The story of other findings in pictures of 200 x 100 px."""
    picture = samples.saved(Image.new("RGB", (200, 100), (90, 120, 90)), "PNG")
    names = tuple(f"{i}.png" for i in range(len(objects)))
    files = AnnotatedFiles(names, names, tuple(objects), lambda index: picture)
    scoring = Scoring(objects, len(classes))
    for index, each in enumerate(found):
        scoring.add(index, each)
    scores = scoring.scores("voc2010")
    rows = tuple(
        {"class": name, "ap_percent": None if math.isnan(value) else value}
        for name, value in zip(classes, scores.by_class, strict=True)
    )
    evaluation = replace(
        story.examination.evaluation,
        values=dict(scores.values),
        images=len(objects),
        left_out=tuple(classes[label] for label in scores.left_out),
        classes=rows,
    )
    about = {**story.checkpoint.about, "classes": list(classes)}
    return replace(
        story,
        checkpoint=replace(story.checkpoint, about=about),
        examination=evaluate_detectors.DetectorExamination(evaluation, scoring, files),
    )


def shown(story):
    return read(report_page.html(story))


def pictures(page):
    return [source for source in page.all("img", "src") if source]


# A real run.


def test_a_run_gets_a_page_with_its_result_and_all_sections(finished, data):
    path = report_page.write(finished.folder, data, device="cpu")
    assert path == finished.folder / "report.html"
    page = read(path)
    assert percent(finished.value).replace("\u00a0", " ") in page.text
    assert page.all("nav", "aria-label") == ["On this page"]
    for section in ("in-short", "curves", "classes", "precision-recall", "kinds", "mistakes"):
        assert page.section(section), section
    assert "shorter side 64 px" in page.text
    assert "Faster R-CNN of resnet of" in page.section("trained")
    assert "half of the images flipped" in page.section("trained")
    assert checkpoints.newest(finished.folder).weights_sha256 in page.section("again")
    assert page.section("data")
    assert NASTY[0] in page.text
    assert NASTY_FILE in page.text


def test_the_page_of_one_run_is_always_the_same(finished, data):
    first = report_page.write(finished.folder, data, {}, device="cpu").read_bytes()
    assert report_page.write(finished.folder, data, {}, device="cpu").read_bytes() == first


def test_it_is_measured_as_the_run_measured_itself(finished, story):
    assert story.ap50_percent == pytest.approx(finished.value, abs=1e-9)
    assert story.evaluation.split == "validation"


def test_data_that_has_no_boxes_is_refused(finished):
    from resnets.data import synthetic

    with pytest.raises(DataError, match="boxes"):
        report_page.write(finished.folder, synthetic.make(), {}, device="cpu")


# Findings that were made up.

OBJECT = (20, 20, 60, 60)


@pytest.fixture(scope="module")
def everything(story):
    """One of each kind, with one right detection and one missed object."""
    objects = [
        scenes.objects((*OBJECT, CAT), (100, 20, 140, 60, DOG)),
        scenes.objects((*OBJECT, CAT)),
        scenes.objects(),
        scenes.objects((*OBJECT, CAT), (100, 20, 180, 80, DOG)),
    ]
    found = [
        scenes.found((*OBJECT, CAT, 0.95), (*OBJECT, CAT, 0.6), (100, 20, 140, 60, CAT, 0.9)),
        scenes.found((20, 20, 60, 38, CAT, 0.8)),
        scenes.found((5, 5, 50, 50, DOG, 0.99), (60, 60, 90, 90, DOG, 0.4)),
        scenes.found((*OBJECT, CAT, 0.55), (100, 20, 180, 80, DOG, 0.3)),
    ]
    return with_found(story, found, objects)


def test_the_head_and_the_first_sentences_tell_what_was_found(everything):
    page = shown(everything)
    assert "Of 5 objects in 4 images it has not trained on, it finds 2" in page.section("in-short")
    assert "Of 6 detections that are as sure, 4 are mistakes (66.7 %)." in page.section("in-short")
    assert "Hardest class: dog" in page.section("in-short")
    assert "2 of 5 objects found" in page.text


def test_each_class_has_its_average_precision_and_a_curve(everything):
    page = shown(everything)
    dog = everything.ap_percent(DOG)
    assert f"dog {dog:.1f} % 2 0.0 % 0.0 % cat" in page.section("classes")
    said = [each for each in page.all("div", "aria-label") if each and "recall of" in each]
    assert [each.split(":")[0] for each in said] == [
        *("Precision against recall of dog", "Precision against recall of cat"),
    ]


def test_mistakes_are_counted_by_kind(everything):
    told = shown(everything).section("kinds")
    for kind in ("wrong class 1", "poor overlap 1", "found twice 1", "background 1", "missed 3"):
        assert kind in told


def test_the_surest_mistakes_and_the_missed_objects_are_shown_as_pictures(everything):
    page = shown(everything)
    told = page.section("mistakes")
    places = [told.index(kind) for kind in ("99.0 %", "90.0 %", "80.0 %", "60.0 %", "40.0 %")]
    assert places == sorted(places)
    for why in ("wrong class: is dog", "poor overlap: 0.45", "found twice", "background"):
        assert why in told
    missed = page.section("missed")
    assert missed.index("not found") < missed.index("found with 30.0 %")
    assert len(pictures(page)) == 5 + 3
    assert "Those below 50 % resnets predict does not tell of" in told  # of dog with 40 %


def test_of_missed_objects_each_class_is_shown_in_turn(story):
    boxes = [(10 * i, 0, 10 * i + 9, 90 - 10 * i, CAT) for i in range(3)]
    objects = [scenes.objects(*boxes, (150, 0, 153, 3, DOG))]
    told = shown(with_found(story, [scenes.found()], objects)).section("missed")
    assert [word for word in told.split() if word in ("cat", "dog")] == ["cat", "dog", "cat", "cat"]


def test_the_length_is_the_runs_and_what_was_kept_of_it_is_said(everything):
    assert "Length 4 updates of 2 images" in shown(everything).section("trained")
    earlier = {**everything.checkpoint.about, "update": 2}
    kept = replace(everything, checkpoint=replace(everything.checkpoint, about=earlier))
    told = shown(kept).section("trained")
    assert "Length 4 updates of 2 images" in told
    assert "the network after update 2 was kept" in told


def test_the_losses_are_drawn_with_the_average_precision(everything):
    page = shown(everything)
    told = page.section("curves")
    assert "At the end: validation 61.5 %." in told
    assert "all together" in told
    assert "regions: boxes" not in told  # nothing of the kind was journalled
    (said,) = [each for each in page.all("div", "aria-label") if each and "Losses" in each]
    assert said.endswith("regions: classes 0.5; all together 1.25.")


def test_a_detector_without_a_mistake_has_nothing_to_show(story):
    objects = [scenes.objects((*OBJECT, CAT)), scenes.objects((*OBJECT, DOG))]
    page = shown(with_found(story, [scenes.as_found(each) for each in objects], objects))
    assert "None: every detection is right." in page.text
    assert 'id="missed"' not in page.raw
    assert "100.0 %" in page.text


def test_a_detector_that_finds_nothing_gets_a_page_too(story):
    objects = [scenes.objects((*OBJECT, CAT))]
    page = shown(with_found(story, [scenes.found()], objects))
    assert "it finds 0" in page.section("in-short")
    assert "No object of these classes is here, so nothing is said of them: dog" in page.text
    assert "not found" in page.section("missed")


def test_a_split_without_an_object_gets_a_page_too(story):
    page = shown(with_found(story, [scenes.found((*OBJECT, CAT, 0.9))], [scenes.objects()]))
    assert "No class has an object here." in page.text
    assert 'id="precision-recall"' not in page.raw
    assert "background 1" in page.section("kinds")


def test_many_classes_unfold_and_what_is_wrong_with_the_data_is_told(story):
    names = tuple(f"class {i}" for i in range(50))
    objects = [scenes.objects((*OBJECT, label)) for label in range(50)]
    told = with_found(story, [scenes.as_found(each) for each in objects], objects, names)
    finding = {
        "severity": "error",
        "count": 2,
        "of": "box",
        "title": "without width or height",
        "cases": [],
    }
    page = shown(replace(told, check={"findings": [finding], "flags": {"crowd": 0}}))
    assert "The other 10 classes" in page.text
    assert "26 more classes" in page.text
    assert "2 boxes without width or height" in page.section("data")
    assert "crowd" not in page.section("data")


def test_a_picture_that_cannot_be_read_any_more_is_said_to_be(everything):
    def gone(index):
        raise DataError("gone")

    files = replace(everything.examination.files, read=gone)
    examination = replace(everything.examination, files=files)
    page = shown(replace(everything, examination=examination))
    assert page.text.count("cannot be read any more") == 8


# What is cut out of a picture.


@pytest.mark.parametrize(
    ("box", "part"),
    [
        ((500, 300, 600, 340), (440, 210, 660, 430)),
        ((0, 0, 10, 10), (0, 0, 200, 200)),
        ((0, 0, 1000, 600), (0, 0, 1000, 600)),
        ((990, 590, 1000, 600), (800, 400, 1000, 600)),
    ],
)
def test_a_box_is_shown_with_what_is_around_it_and_never_from_outside(box, part):
    assert boxes.around([box], 1000, 600) == part


def test_of_no_box_the_whole_picture_is_shown():
    assert boxes.around([], 30, 20) == (0, 0, 30, 20)
    whole = boxes.drawn(Image.new("RGB", (480, 240)), [((math.nan, 0, 1, 1), (255, 0, 0))])
    assert whole.size == (240, 120)


def test_lines_stand_where_the_box_is_and_the_last_is_on_top():
    image = Image.new("RGB", (120, 120), (255, 255, 255))
    shown = boxes.drawn(image, [((30, 30, 90, 90), (0, 0, 255)), ((30, 30, 90, 90), (255, 0, 0))])
    pixels = np.asarray(shown)
    assert shown.size == (240, 240)
    assert tuple(pixels[120, 60]) == (255, 0, 0)
    assert [tuple(pixels[120, x]) for x in (59, 62)] == [(0, 0, 0)] * 2  # seen on any photo
    assert tuple(pixels[120, 120]) == (255, 255, 255)
    assert np.asarray(image).min() == 255  # as it was


def test_the_page_shows_jpegs_of_the_size_that_it_says(everything):
    import base64

    page = shown(everything)
    (width, height), *_ = zip(page.all("img", "width"), page.all("img", "height"), strict=True)
    made = Image.open(io.BytesIO(base64.b64decode(pictures(page)[0].partition(",")[2])))
    assert made.size == (int(width), int(height))
    assert isinstance(page, Page)


def test_commands_in_sentences_are_set_as_such(story):
    read = Page(report_page.html(story))
    assert "`" not in read.text
    assert "resnets predict" in read.texts
