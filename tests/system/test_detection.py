"""The real command on pictures with boxes: train, kill, resume, share, evaluate, predict."""

import json
import shutil
import signal
import subprocess
import time

import pytest
from PIL import Image

import resnets
import samples
from resnets.core import artifacts
from resnets.experiment import detectors
from resnets.inference import checkpoints, origins
from resnets.inference.detector import Detector

SMALL = samples.small_resnet()
QUICK = [
    *("--device", "cpu", "--set", "precision=float32"),
    *("--set", "data.scaling.shorter_px=96", "--set", "data.scaling.longest_px=160"),
    *("--set", "learning.regions=16", "--set", "learning.anchors=32"),
]


def write_split(folder, files, names):
    """Write files with boxes as a year of VOC has them."""
    for index, name in enumerate(names):
        (folder / f"JPEGImages/{name}.jpg").write_bytes(
            samples.saved(files.image(index), "JPEG", quality=95)
        )
        objects = files.objects[index]
        rows = [
            (list(samples.SHAPES)[label], (left + 1, top + 1, right, bottom), 0)
            for (left, top, right, bottom), label in zip(
                objects.boxes_n4.long().tolist(), objects.classes_n.tolist(), strict=True
            )
        ]
        told = samples.voc_xml(rows, files.image(index).size)
        (folder / f"Annotations/{name}.xml").write_bytes(told)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shapes"
    for inside in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / inside).mkdir(parents=True)
    for seed, (split, images) in enumerate({"train": 6, "val": 3}.items()):
        names = [f"{split}{number}" for number in range(images)]
        write_split(folder, samples.shapes(images, seed=seed), names)
        (folder / f"ImageSets/Main/{split}.txt").write_text("\n".join(names))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network for photos that learnt nothing of use."""
    found = origins.checkpoint(samples.trained(SMALL))
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    artifacts.save_tensors(path, found.tensors, found.about)
    return path


@pytest.fixture(scope="module")
def words(data, weights):
    """What trains a detector for ten updates."""
    named = ["train", "--data", data, "--weights", weights, *QUICK]
    return [*named, "--set", "total_steps=10", "--set", "data.flip=true"]


@pytest.fixture(scope="module")
def trained(ask, words, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "trained"
    answer = ask(*words, "--out", out, "--json")
    assert answer.status == 0, answer.err
    return out, answer


def test_a_folder_with_boxes_alone_trains_a_detector_of_its_classes(trained):
    folder, answer = trained
    told = json.loads(answer.out)
    assert told["split"] == "validation"
    assert told["images"] == 3
    assert 0 <= told["ap50_percent"] <= 100
    found = checkpoints.newest(folder)
    assert found.about["name"] == "detect.finetune"
    assert found.classes == ("circle", "square")
    assert found.spec.backbone == SMALL


def test_a_killed_run_goes_on_to_the_same_bits(trained, command, words, tmp_path):
    resnets, environment, _ = command
    out = tmp_path / "killed"
    with subprocess.Popen(
        [*resnets, *map(str, words), "--out", str(out)],
        env={**environment},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stderr:
            if line.startswith("run "):
                break
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    if process.returncode != 0:  # it may have been quicker
        again = subprocess.run(
            [*resnets, "train", "--resume", str(out)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert again.returncode == 0, again.stderr
    assert checkpoints.newest(out).weights_sha256 == checkpoints.newest(trained[0]).weights_sha256


def test_two_processes_learn_what_one_learns(trained, words, team, tmp_path):
    out = tmp_path / "shared"
    statuses, told = team(2, [*words, "--out", out], tmp_path / "said")
    assert statuses == [0, 0], told
    alone, shared = (samples.losses(folder) for folder in (trained[0], out))
    assert shared == pytest.approx(alone, rel=1e-3)


def test_it_is_evaluated_with_nothing_else_named(ask, trained):
    folder, answer = trained
    measured = ask("evaluate", folder, "--precision", "float32", "--json", "--device", "cpu")
    assert measured.status == 0, measured.err
    told, wanted = json.loads(measured.out), json.loads(answer.out)
    assert told["ap50_percent"] == pytest.approx(wanted["ap50_percent"], abs=1e-6)
    assert "VOC 2010" in told["protocol"]
    refined = ask("evaluate", folder, "--set", "testing.refined=true", "--device", "cpu")
    assert refined.status == 0
    assert "refined" in refined.out


def test_python_evaluates_and_loads_it_as_the_command_does(trained):
    folder, answer = trained
    measured = resnets.evaluate(folder, precision="float32", device="cpu")
    wanted = json.loads(answer.out)["ap50_percent"]
    assert measured.values["ap50_percent"] == pytest.approx(wanted, abs=1e-6)
    finder = resnets.load(folder, device="cpu")
    assert isinstance(finder, Detector)
    assert finder.classes == ("circle", "square")


def test_weights_are_read_once_where_they_are_measured(ask, trained, finished, monkeypatch):
    read = []
    load = artifacts.load_tensors
    monkeypatch.setattr(artifacts, "load_tensors", lambda path: read.append(path) or load(path))
    for folder in (trained[0], finished):
        read.clear()
        assert ask("evaluate", folder, "--device", "cpu").status == 0
        assert len(read) == 1


def test_boxes_that_were_put_right_are_said_when_a_run_begins(ask, words, data, tmp_path):
    wrong = tmp_path / "wrong"
    shutil.copytree(data, wrong)
    path = wrong / "Annotations/train0.xml"
    rows = [("circle", (1, 1, 40, 40), 0), ("square", (100, 50, 900, 90), 0)]
    path.write_bytes(samples.voc_xml(rows, (192, 160)))
    asked = [wrong if word == data else word for word in words]
    answer = ask(*asked, "--out", tmp_path / "run", "--set", "total_steps=1")
    assert answer.status == 0, answer.err
    assert "annotations put right or left out: 1 clipped; `resnets data check`" in answer.err


def test_what_it_found_is_written_as_test_servers_take_it(ask, trained, tmp_path):
    for name in ("found.json", "voc", "found.txt"):
        answer = ask("evaluate", trained[0], "--device", "cpu", "--submission", tmp_path / name)
        assert answer.status == 0, answer.err
    found = json.loads((tmp_path / "found.json").read_text())
    assert {each["category_id"] for each in found} <= {1, 2}
    assert sorted(path.name for path in (tmp_path / "voc").iterdir()) == [
        "comp4_det_validation_circle.txt",
        "comp4_det_validation_square.txt",
    ]


def test_it_predicts_and_draws(ask, trained, data, tmp_path):
    image = data / "JPEGImages/val0.jpg"
    answer = ask(
        *("predict", trained[0], image, "--top", "2", "--json", "--device", "cpu"),
        *("--explain", tmp_path / "drawn.png"),
    )
    assert answer.status == 0, answer.err
    told = json.loads(answer.out)
    assert len(told) <= 2
    assert all(set(one) == {"file", "class", "class_index", "score", "box_px"} for one in told)
    with Image.open(tmp_path / "drawn.png") as drawn, Image.open(image) as original:
        assert drawn.size == original.size


def test_where_no_object_is_sure_enough_that_is_said(ask, trained, tmp_path):
    Image.new("RGB", (96, 96)).save(tmp_path / "black.png")
    answer = ask("predict", trained[0], tmp_path / "black.png", "--device", "cpu")
    assert (answer.status, answer.out) == (0, "")
    assert answer.err == (
        "note         1 of 1 images: no object as likely as 50 %; --top 5 tells of the likeliest "
        "five\n"
    )


def test_names_that_a_test_server_does_not_take_are_refused_before_the_work(
    ask, trained, data, tmp_path, monkeypatch
):
    spaced = tmp_path / "data"
    shutil.copytree(data, spaced)
    for place in ("JPEGImages/val0.jpg", "Annotations/val0.xml"):
        path = spaced / place
        path.rename(path.with_stem("val 0"))
    listed = spaced / "ImageSets/Main/val.txt"
    listed.write_text(listed.read_text().replace("val0", "val 0"))
    measured = []
    monkeypatch.setattr(detectors, "scored", lambda *given, **named: measured.append(given))
    words = ("--data", spaced, "--submission", tmp_path / "found", "--device", "cpu")
    answer = ask("evaluate", trained[0], *words)
    assert (answer.status, answer.out, measured) == (2, "", [])
    assert "'val 0': VOC's result files take names without spaces" in answer.err
    assert not (tmp_path / "found").exists()


def test_that_a_detectors_run_is_not_at_its_end_is_said(ask, trained, tmp_path):
    tensors, about = artifacts.load_tensors(trained[0] / "model.safetensors")
    path = tmp_path / "stopped.safetensors"
    artifacts.save_tensors(path, tensors, {**about, "finished": False, "update": 3})
    answer = ask("evaluate", path, "--device", "cpu")
    assert answer.status == 0, answer.err
    assert f"; UNFINISHED: {path} saved after update 3" in answer.out
    assert "UNFINISHED" not in ask("evaluate", trained[0], "--device", "cpu").out


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--protocol", "ten-crop"], "a detector takes voc2007"),
        (["--set", "optim.learning_rate=1"], "evaluating takes what stands under testing"),
        (["--split", "nowhere"], "has train, validation"),
        (["--submission", "found.csv"], "takes a .json"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(ask, trained, more, told):
    answer = ask("evaluate", trained[0], "--device", "cpu", *more)
    assert answer.status == 2
    assert told in answer.err
    assert len(answer.err.strip().splitlines()) == 1


def test_a_classifiers_recipe_on_boxes_and_a_detectors_on_classes_are_refused(ask, data):
    answer = ask("train", "folder.finetune", "--data", data)
    assert (answer.status, len(answer.err.strip().splitlines())) == (2, 1)
    assert "boxes" in answer.err
    answer = ask("train", "detect.finetune", "--data", "synthetic")
    assert (answer.status, len(answer.err.strip().splitlines())) == (2, 1)
    assert "boxes" in answer.err


def test_it_is_inspected_as_a_classifier_is(ask, trained):
    answer = ask("inspect", trained[0], "--json")
    assert answer.status == 0, answer.err
    told = json.loads(answer.out)
    assert told["weights_sha256"] == checkpoints.newest(trained[0]).weights_sha256
    assert told["recipe"]["data"]["scaling"]["shorter_px"] == told["image_px"] == 96
    assert (told["name"], told["classes"]) == ("detect.finetune", ["circle", "square"])
    shown = ask("inspect", trained[0], "--image-px", "64")
    assert "one image of 3x64x107, 300 regions" in shown.out
    assert "2, and background: circle, square" in shown.out


def test_a_detectors_recipe_is_inspected_by_its_name(ask):
    answer = ask("inspect", "voc.resnet101")
    assert answer.status == 0, answer.err
    assert answer.out.startswith(
        "voc.resnet101: Faster R-CNN of resnet101, one image of 3x600x1000"
    )
    for words, told in (
        (("voc.resnet11",), "did you mean"),
        (("voc.resnet101", "--image-px", "8"), "needs 32 <= shorter"),
        (("voc.resnet101", "--diagram", "x.svg"), "resnets inspect resnet101 --diagram"),
    ):
        refused = ask("inspect", *words)
        assert (refused.status, len(refused.err.strip().splitlines())) == (2, 1)
        assert told in refused.err


def test_a_pack_trains_and_evaluates_as_the_folder_does(ask, trained, words, data, tmp_path):
    packed, out = tmp_path / "packed", tmp_path / "run"
    answer = ask("data", "pack", data, packed, "--json")
    assert answer.status == 0, answer.err
    told = json.loads(answer.out)
    assert (told["images"], told["resized_images"]) == (9, 0)
    asked = [packed if word == data else word for word in words]
    answer = ask(*asked, "--out", out)
    assert answer.status == 0, answer.err
    weights = [checkpoints.newest(folder).weights_sha256 for folder in (out, trained[0])]
    assert weights[0] == weights[1]
    values = [
        json.loads(ask("evaluate", out, "--data", at, "--device", "cpu", "--json").out)
        for at in (packed, data)
    ]
    for each in values:
        assert each.pop("images_per_second") > 0
    assert values[0] == values[1]
    answer = ask("data", "pack", data, tmp_path / "small", "--shorter-px", "80")
    assert answer.status == 0, answer.err
    answer = ask("evaluate", trained[0], "--data", tmp_path / "small", "--device", "cpu")
    assert answer.status == 0, answer.err


def test_a_run_ends_with_its_report(trained):
    page = (trained[0] / "report.html").read_text(encoding="utf-8")
    assert "report.html" not in trained[1].err  # nothing went wrong with it
    for heading in ("Learning curves", "Precision and recall", "Kinds of mistakes", "Data check"):
        assert heading in page
