"""Tables 7 and 8 through the real path: small networks, few pictures in VOC's and COCO's layout."""

import os
import signal
from dataclasses import replace

import pytest

import samples
from resnets.core import artifacts
from resnets.core.errors import DataError, InterruptedRunError, RecipeError
from resnets.data import coco, opening, pasted, voc
from resnets.data.annotated import DetectionData
from resnets.detection.anchors import AnchorSpec
from resnets.detection.learning import Learning
from resnets.detection.spec import FasterRCNNSpec
from resnets.experiment import journal, paper, run
from resnets.experiment.reproduce import reproduce
from resnets.experiment.studies import detection
from resnets.experiment.studies.catalogue import STUDIES
from resnets.inference import checkpoints, origins
from resnets.models.spec import ResNetSpec, StageSpec, StemSpec
from resnets.recipes import catalogue
from resnets.recipes.detector import Pretrained

SETTINGS = (
    *("total_steps=2", "batch_images=2", "precision=float32", "learning.anchors=16"),
    *("data.scaling.shorter_px=48", "data.scaling.longest_px=96", "testing.proposed.most=8"),
    "schedule.warmup_steps=1",
)
BOX = (5, 5, 40, 30)


def small(shortcut):
    return ResNetSpec(
        stem=StemSpec(kernel=3, width=8, stride=2, pool=True),
        block="basic",
        stages=tuple(StageSpec(blocks=1, width=8, stride=stride) for stride in (1, 2, 2, 2)),
        shortcut=shortcut,
        classes=5,
    )


NETWORKS = {"vgg16": small("none"), "resnet101": small("B")}


def write_year(folder, lists, *, hidden=()):
    """A year of VOC whose first picture has an object of every class."""
    names = [name for some in lists.values() for name in some]
    objects = {name: [("dog", BOX, 0)] for name in names if name not in hidden}
    objects[names[0]] = [(name, BOX, 0) for name in voc.CLASSES]
    return samples.write_voc(folder, lists, objects)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with VOC in two forms, COCO, and a set of somebody's own."""
    place = tmp_path_factory.mktemp("work")
    lists = {"train": ["a", "b"], "val": ["c"], "test": ["d", "e"]}
    write_year(place / "voc/VOC2007", lists)
    write_year(place / "voc/VOC2012", lists, hidden=("d", "e"))
    write_year(place / "told/VOC2007", lists)
    write_year(place / "told/VOC2012", lists)
    write_year(place / "without/VOC2007", lists)
    write_year(place / "without/VOC2012", {"train": ["a", "b"], "val": ["c"]})
    found = [{"image_id": 1, "category_id": number, "bbox": [4, 4, 35, 25]} for number in (1, 90)]
    samples.write_coco(
        place / "coco",
        {"train2014": (3, found), "val2014": (2, found)},
        tuple((number, f"c{number}") for number in coco._IDS),
    )
    cats = {name: [("cat", BOX, 0)] for name in "abcd"}
    samples.write_voc(place / "pets", {"train": ["a", "b", "c"], "val": ["d"]}, cats)
    for name, spec in NETWORKS.items():
        made = origins.checkpoint(samples.trained(spec))
        artifacts.save_tensors(place / f"{name}.safetensors", made.tensors, made.about)
    return place


@pytest.fixture
def ask(place, monkeypatch):
    """Reproduce with the paper's recipes, but for their networks and the weights of these."""
    for part in detection.PARTS:
        for name in part.recipes.values():
            network = name.partition(".")[2]
            recipe = catalogue.RECIPES[name]
            anchors = AnchorSpec(scales_px=(48,))
            spec = FasterRCNNSpec(
                backbone=NETWORKS[network], classes=recipe.model.classes, anchors=anchors
            )
            share = 0.2 if recipe.data.held_out_share else 0.0
            made = replace(
                recipe,
                model=spec,
                learning=Learning(anchors=16, regions=8),
                data=replace(recipe.data, held_out_share=share),
                transfer=Pretrained(weights=str(place / f"{network}.safetensors")),
            )
            monkeypatch.setitem(catalogue.RECIPES, name, made)
    monkeypatch.chdir(place)
    return lambda data, **given: reproduce(
        "detection", data=data, device="cpu", settings=SETTINGS, **given
    )


@pytest.fixture
def quick(place, monkeypatch, tmp_path):
    """Reproduce quickly with networks smaller still, two updates each, in a folder of its own."""

    def smaller(network):
        found = network.quick
        spec = replace(found.before.model, stages=found.before.model.stages[:2])
        before = replace(
            found.before,
            model=spec,
            data=replace(found.before.data, held_out_images=50),
            schedule=replace(found.before.schedule, warmup_steps=1),
            total_steps=2,
            batch_images=8,
        )
        anchors = AnchorSpec(scales_px=(32,), stride_px=2)
        recipe = replace(
            found.recipe,
            model=FasterRCNNSpec(backbone=spec, classes=10, anchors=anchors),
            learning=replace(found.recipe.learning, anchors=16, regions=8),
        )
        return replace(network, quick=replace(found, before=before, recipe=recipe))

    study = STUDIES["detection"]
    networks = tuple(map(smaller, study.quick_networks))
    monkeypatch.setitem(STUDIES, "detection", replace(study, quick_networks=networks))
    monkeypatch.chdir(tmp_path)
    return lambda data: reproduce(
        "detection", quick=True, data=data, device="cpu", settings=SETTINGS
    )


def rows_of(found):
    return [(row["tested"], row["network"], row["paper"]) for row in found.result["rows"]]


def runs(folder):
    return sorted(path.name for path in (folder / "runs" / "reproduce").iterdir())


VOC_2007 = [("VOC 2007 test", "VGG-16", "73.2 / -"), ("VOC 2007 test", "ResNet-101", "76.4 / -")]
VOC_2012 = [("VOC 2012 test", "VGG-16", "70.4 / -"), ("VOC 2012 test", "ResNet-101", "73.8 / -")]


def test_on_voc_both_networks_stand_beside_the_papers_numbers(ask, place):
    found = ask("voc")
    assert rows_of(found) == [*VOC_2007, *VOC_2012]
    assert found.path.name.startswith("detection.voc.changed-")
    assert "COCO val was not run: it needs COCO, and this was voc." in found.result["says"]
    for row in found.result["rows"][:2]:
        name = {"VGG-16": "voc.vgg16", "ResNet-101": "voc.resnet101"}[row["network"]]
        (folder,) = place.glob(f"runs/reproduce/{name}-*")
        last = artifacts.read_lines(folder / journal.JOURNAL)[-1]
        assert row["ap50"]["values"] == [last["2007/test_ap50_percent"]]
        assert row["by"] == "VOC 2007's 11 points"


def test_what_is_trained_on_is_what_the_paper_names(ask, place):
    ask("voc")
    of_2007, of_2012 = (
        checkpoints.newest(next(place.glob(f"runs/reproduce/{name}-*"))).recipe
        for name in ("voc.vgg16", "voc2012.vgg16")
    )
    data = opening.open_data(place / "voc")
    joined = ("2007/train", "2007/validation", "2012/train", "2012/validation")
    assert of_2007.data.train == joined
    assert len(data.select(of_2007.data.train)) == 6
    assert set(of_2012.data.train) == {*joined, "2007/test"}


def test_of_a_test_split_without_boxes_the_detections_are_written_for_vocs_server(ask, place):
    found = ask("voc")
    for row in found.result["rows"][2:]:
        assert row["ap50"] is None
        assert row["n"] == 1
    for name in ("voc2012.vgg16", "voc2012.resnet101"):
        (folder,) = place.glob(f"runs/reproduce/{name}-*/found-2012-test")
        assert len(list(folder.glob("comp4_det_test_*.txt"))) == 20
        assert folder.relative_to(place).as_posix() in found.result["says"]


def test_whoever_has_the_boxes_of_that_split_is_told_the_precision(ask, place):
    found = ask("told")
    for row in found.result["rows"][2:]:
        name = {"VGG-16": "voc2012.vgg16", "ResNet-101": "voc2012.resnet101"}[row["network"]]
        kept = [
            artifacts.read_json(path)
            for path in place.glob(f"runs/reproduce/{name}-*/found-2012-test.json")
        ]
        assert row["ap50"]["mean"] in [each.get("ap50_percent") for each in kept]
        assert row["by"] == "VOC 2010's area"
    assert "VOC's server" not in found.result["says"]


def test_asked_again_nothing_is_trained_or_tested_twice(ask, place, capsys):
    first = ask("voc").result["rows"]
    kept = {path: path.stat().st_mtime_ns for path in place.glob("runs/reproduce/voc*/*")}
    capsys.readouterr()
    assert ask("voc").result["rows"] == first
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert "to do" not in capsys.readouterr().err


def test_a_part_whose_images_are_missing_is_left_out_and_said(ask):
    found = ask("without")
    assert rows_of(found) == VOC_2007
    assert "VOC 2012 test was not run: it needs 2012/test, which voc lacks" in found.result["says"]


def test_on_coco_both_of_its_measures_stand_beside_the_papers(ask):
    found = ask("coco")
    assert rows_of(found) == [
        ("COCO val", "VGG-16", "41.5 / 21.2"),
        ("COCO val", "ResNet-101", "48.4 / 27.2"),
    ]
    for row in found.result["rows"]:
        assert 0 <= row["ap"]["mean"] <= row["ap50"]["mean"] <= 100
    assert (
        "VOC 2007 test was not run: it needs PASCAL VOC, and this was coco."
        in (found.result["says"])
    )
    assert found.path.name.startswith("detection.coco.changed-")


def test_other_data_is_no_table_of_the_paper_and_is_refused_in_one_line(ask, place):
    with pytest.raises(DataError, match="needs PASCAL VOC, VOC2007 and VOC2012") as refused:
        ask("pets")
    assert "`--quick` takes any data with boxes" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({}, DataError, "needs PASCAL VOC or COCO; name its folder with --data D, or see --quick"),
        ({"data": "synthetic"}, DataError, "this needs boxes"),
        ({"settings": ("transfer.weights=x",)}, RecipeError, "transfer.weights: detection names"),
        ({"settings": ("data.protocol=coco",)}, RecipeError, "data.protocol: detection names"),
        ({"settings": ("no.field=1",)}, RecipeError, "--set"),
    ],
)
def test_a_wrong_request_is_one_line(given, error, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words) as refused:
        reproduce("detection", **given)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_quick_detector_begins_with_the_classifier_that_is_trained_before(quick, place, tmp_path):
    found = quick(place / "pets")
    assert [row["network"] for row in found.result["rows"]] == ["plain-20", "ResNet-32"]
    assert [row["tested"] for row in found.result["rows"]] == ["pets validation"] * 2
    assert found.result["mode"] == "quick"
    assert found.result["changed"]
    assert "nothing here is a number of the paper" in found.result["says"]
    classifiers = [name for name in runs(tmp_path) if "classifier" in name]
    assert len(classifiers) == 2
    for name in ("plain20", "resnet32"):
        begun, made = (
            checkpoints.newest(next(tmp_path.glob(f"runs/reproduce/quick.{name}-{kind}-*")))
            for kind in ("classifier", "detector")
        )
        assert made.recipe.transfer.weights == f"sha256:{begun.weights_sha256}"
    told = [each["label"] for each in found.result["trainings"]]
    names = ("plain-20", "ResNet-32")
    assert told == [label for name in names for label in (f"{name} as a classifier", name)]
    assert all(each["recipe"].startswith("quick.") for each in found.result["trainings"])


def test_a_quick_study_that_is_stopped_goes_on_where_it_was(quick, place, tmp_path, monkeypatch):
    updates, trained = run.updates, []

    def stopping(*given, **named):
        for update in updates(*given, **named):
            trained.append(update.number)
            if len(trained) in (3, 5):  # the second classifier and the first detector
                os.kill(os.getpid(), signal.SIGTERM)
            yield update

    monkeypatch.setattr(run, "updates", stopping)
    for _ in range(2):
        with pytest.raises(InterruptedRunError, match="the same command continues"):
            quick(place / "pets")
        assert not (tmp_path / "results").exists()
    quick(place / "pets")
    assert trained == [1, 2] * 4


def test_coco_as_a_sample_of_one_split_holds_some_out_and_has_cocos_measures(quick, tmp_path):
    numbers = tuple((number, f"c{number}") for number in coco._IDS)
    found = [{"image_id": n, "bbox": [4, 4, 35, 25]} for n in range(1, 6)]
    samples.write_coco(tmp_path / "sample", {"train2017": (5, found)}, numbers)
    (row, _) = quick(tmp_path / "sample").result["rows"]
    assert (row["tested"], row["by"]) == ("coco validation", "COCO's")
    assert row["ap"]["mean"] <= row["ap50"]["mean"]


def test_a_quick_run_tests_on_the_test_split_if_it_is_small_and_else_holds_some_out():
    files = pasted.make().splits["test"]
    recipe = detection.DETECTION.quick_networks[0].recipe(quick=True)[1]

    def on(**splits):
        data = DetectionData("own", "own", ("a",), (1,), splits)
        return detection._on(recipe, data).data

    three = on(train=files, validation=files, test=files)
    assert (three.train, three.test, three.held_out_share) == (("train",), "test", 0)
    large = replace(files, names=files.names * 2, ids=files.ids * 2)
    assert on(train=large, validation=large).held_out_share == 0.2
    alone = on(validation=files)
    assert (alone.train, alone.held_out_share) == (("validation",), 0.2)
    years = on(**{"2007/train": files, "2012/train": files, "2007/test": files})
    assert (years.train, years.test) == (("2007/train", "2012/train"), "2007/test")


def test_what_each_detector_should_reach_is_what_the_paper_prints():
    for part in detection.PARTS:
        for network, name in part.recipes.items():
            recipe = catalogue.RECIPES[name]
            assert recipe.expected.ap50_percent == paper.DETECTION[part.name][network][0]
            assert not recipe.expected.measured
            assert recipe.data.name == part.data
            protocols = {"VOC 2007 test": "voc2007", "VOC 2012 test": "voc2010", "COCO val": "coco"}
            assert recipe.data.protocol == protocols[part.name]
    ours = paper.DETECTION["COCO val"]
    gain = ours["ResNet-101"][1] / ours["VGG-16"][1] - 1
    assert round(100 * gain) == 28  # He et al. 2015, sec. 4.3


def test_only_whole_data_sets_are_the_papers(place):
    assert detection.is_own(pasted.make(), quick=True)
    data = opening.open_data(place / "voc")
    assert not detection.is_own(data, quick=False)
    assert not detection.is_own(data, quick=True)
    counted = {
        name: type("Split", (), {"__len__": lambda self, images=images: images})()
        for name, images in detection.IMAGES["voc"].items()
    }
    assert detection.is_own(replace(data, splits=counted), quick=False)


def test_sentences_are_made_from_the_numbers():
    def row(network, ap50, ap):
        told = [None if each is None else {"mean": each, "deviation": None} for each in (ap50, ap)]
        return {"tested": "COCO val", "network": network, "ap50": told[0], "ap": told[1]}

    says = detection._compared(row("VGG-16", 41.5, 21.2), row("ResNet-101", 48.4, 27.2))
    assert "ResNet-101 has a higher average precision" in says
    assert "48.4 %, VGG-16 41.5 %" in says
    assert says.endswith("from 21.2 to 27.2 %: +28 % of it.")
    assert "a lower" in detection._compared(row("a", 50.0, None), row("b", 40.0, None))
    assert detection._compared(row("a", None, None), row("b", 40.0, None)) == ""
