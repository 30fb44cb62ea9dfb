import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from resnets.core.errors import CheckpointError, DataError, ModelError, StorageError
from resnets.data import cifar, imagenet_classes
from resnets.data.fetch import Archive
from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from resnets.experiment import evaluate, inspection
from resnets.inference import checkpoints, converting, foreign_files, loading, published
from resnets.inference.foreign_files import ForeignFile
from resnets.inference.published import Published
from resnets.models import foreign, making, zoo
from resnets.models.network import he_init
from resnets.models.spec import ResNetSpec, StageSpec, StemSpec

BASIC = ResNetSpec(
    stem=StemSpec(kernel=7, width=8, stride=2, pool=True),
    block="basic",
    stages=(StageSpec(blocks=1, width=8, stride=1), StageSpec(blocks=1, width=16, stride=2)),
    shortcut="B",
    classes=5,
)
BOTTLENECK = replace(BASIC, block="bottleneck")
SMALL = "torchvision,resize=40,crop=32"


def weights(spec, seed=0):
    """Return a network's tensors, its weights drawn as the paper's are and BN's at random."""
    draw = torch.Generator().manual_seed(seed)
    network = making.make(spec)
    he_init(network, draw)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1, generator=draw)
            module.running_var.uniform_(0.5, 2, generator=draw)
    return network.state_dict()


@pytest.fixture
def write(tmp_path):
    """Writes a network under torchvision's or akamaster's names and returns the file."""

    def write(spec=BASIC, naming="torchvision", name="w.pth"):
        tensors = foreign.to_theirs(weights(spec), naming, spec)
        if name.endswith(".safetensors"):
            save_file(tensors, tmp_path / name)
        else:
            torch.save(
                {"state_dict": {f"module.{n}": t for n, t in tensors.items()}}, tmp_path / name
            )
        return tmp_path / name

    return write


@pytest.fixture
def small_zoo(monkeypatch):
    """The two ResNet-50s have few channels."""
    monkeypatch.setitem(zoo._ZOO, "resnet50", BOTTLENECK)
    monkeypatch.setitem(zoo._ZOO, "resnet50-v1.5", replace(BOTTLENECK, stride_on="3x3"))


def refused(error, file, to, **given):
    """Return the message for what is refused; nothing may be written."""
    before = sorted(to.parent.iterdir())
    with pytest.raises(error) as caught:
        converting.convert(file, to, **given)
    assert sorted(to.parent.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- Files of every kind.


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_becomes_a_checkpoint_that_says_where_it_is_from(write, tmp_path, name):
    file = write(name=name)
    made = converting.convert(file, tmp_path / "ours.safetensors", preprocess=SMALL)
    assert made.path == tmp_path / "ours.safetensors"
    assert made.spec == BASIC
    assert made.recipe is None
    assert (made.update, made.finished) == (0, True)
    assert made.preprocess == Preprocess(
        resize_px=40, crop_px=32, interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD
    )
    assert made.classes == tuple(f"class {i}" for i in range(5))
    assert made.about["name"] == "w"
    assert made.about["source"] == {
        "file": name,
        "format": "pytorch" if name == "w.pth" else "safetensors",
        "part": "state_dict" if name == "w.pth" else "",
        "names": "torchvision",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    expected = weights(BASIC)
    assert all(torch.equal(made.model[n], t) for n, t in expected.items())
    assert made.network().state_dict().keys() == expected.keys()


def test_ten_classes_of_small_images_are_cifars_and_a_thousand_are_imagenets(write, tmp_path):
    to = tmp_path / "ours.safetensors"
    spec = zoo.named("cifar-resnet8")
    made = converting.convert(write(spec, "cifar"), to, preprocess="torchvision")
    assert made.classes == cifar.CLASSES
    assert (made.preprocess.resize_px, made.preprocess.crop_px) == (32, 32)
    assert all(torch.equal(made.model[n], t) for n, t in weights(spec).items())
    ten = converting.convert(write(replace(BASIC, classes=10)), to, preprocess="torchvision")
    assert ten.classes[0] == "class 0"
    assert (ten.preprocess.resize_px, ten.preprocess.crop_px) == (256, 224)
    many = converting.convert(write(replace(BASIC, classes=1000)), to, preprocess="scaled")
    assert many.classes == imagenet_classes.names()


def test_a_keras_file_tells_its_preprocessing_and_its_first_kernel_is_turned_round(
    tmp_path, monkeypatch
):
    spec = zoo.named("resnet50")
    with torch.device("meta"):
        shapes = {name: t.shape for name, t in making.make(spec).state_dict().items()}
    table = foreign._table("caffe", spec, foreign._wanted(spec))
    tensors = {}
    for ours, shape in shapes.items():
        if ours.endswith("num_batches_tracked"):
            continue
        turned = {4: (2, 3, 1, 0), 2: (1, 0)}.get(len(shape), (0,))
        tensors[table[ours]] = torch.zeros(shape).permute(turned)
    tensors["conv1/kernel"][:, :, 0] = 1.0  # blue
    layers = {"res3a_branch2a": {"strides": [2, 2]}, "res3a_branch2b": {"strides": [1, 1]}}

    def told(layers):
        read = ForeignFile(tmp_path / "model.json", "tfjs", tensors, layers, "00")
        monkeypatch.setattr(foreign_files, "read", lambda path: read)

    file, to = tmp_path / "model.json", tmp_path / "ours.safetensors"
    told({"res3a_branch2b": {"strides": [2, 2]}})
    assert "holds resnet50-v1.5, not resnet50" in refused(ModelError, file, to, model="resnet50")
    told(layers)
    assert "not resnet50-v1.5" in refused(ModelError, file, to, model="resnet50-v1.5")
    made = converting.convert(tmp_path, to)
    assert made.spec == spec
    assert made.model["stem.conv1.weight"].sum((0, 2, 3)).tolist() == [0, 0, 64 * 49]
    assert (made.preprocess.resize_px, made.preprocess.crop_px) == (256, 224)
    assert made.preprocess.mean == pytest.approx([123.68 / 255, 116.779 / 255, 103.939 / 255])
    assert made.preprocess.std == pytest.approx([1 / 255] * 3)


# --- Which network it is.


def test_a_file_is_not_converted_onto_itself(tmp_path):
    file = tmp_path / "theirs.safetensors"
    file.write_bytes(b"theirs")
    (tmp_path / "x").mkdir()
    assert "is the file itself" in refused(
        CheckpointError, file, tmp_path / "x/../theirs.safetensors"
    )
    assert file.read_bytes() == b"theirs"


def test_where_the_stride_is_not_told_it_has_to_be_said(write, tmp_path, small_zoo):
    file, to = write(BOTTLENECK), tmp_path / "ours.safetensors"
    message = refused(ModelError, file, to, preprocess=SMALL)
    assert "say --model resnet50-v1.5 (on the 3x3" in message
    assert "--model resnet50 (on the first 1x1" in message
    for name, stride in (("resnet50", "1x1"), ("resnet50-v1.5", "3x3")):
        made = converting.convert(file, to, model=name, preprocess=SMALL)
        assert made.spec == replace(BOTTLENECK, stride_on=stride)


def test_a_model_that_is_not_the_files_is_refused(write, tmp_path, small_zoo):
    to = tmp_path / "ours.safetensors"
    for model in ("resnet101", "resnet18", "vgg16"):
        message = refused(ModelError, write(BOTTLENECK), to, model=model, preprocess=SMALL)
        assert f"w.pth: holds resnet50, not {model}" in message.replace("resnet50-v1.5", "resnet50")
    message = refused(ModelError, write(), to, model="resnet18", preprocess=SMALL)
    assert "no name here, not resnet18" in message
    for spec in (BASIC, BOTTLENECK):
        message = refused(ModelError, write(spec), to, model="resnet19", preprocess=SMALL)
        assert "resnets list models" in message


def test_a_bottleneck_network_without_a_name_is_said_to_have_none(write, tmp_path):
    message = refused(
        ModelError, write(BOTTLENECK), tmp_path / "o.safetensors", preprocess="torchvision"
    )
    assert "no name here" in message
    assert "resnets list models" in message


def test_what_does_not_fit_is_said_before_anything_is_asked_for(write, tmp_path, small_zoo):
    file = write(BOTTLENECK)
    tensors = torch.load(file)["state_dict"]
    tensors["module.layer1.0.bn3.gamma"] = tensors.pop("module.layer1.0.bn3.weight")
    torch.save(tensors, file)
    message = refused(CheckpointError, file, tmp_path / "ours.safetensors")
    assert message == (
        f"{file}: does not fit resnet50: the file lacks layer1.0.bn3.weight; the network has no "
        "place for layer1.0.bn3.gamma"
    )


# --- Published files.


def published_entry(file, model, preprocess=None, name="us/net.v1"):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Published(
        name=name,
        model=model,
        sources=(Archive("https://example.org/w.pth", f"sha256:{digest[:8]}"),),
        preprocess=preprocess or Preprocess(resize_px=36, crop_px=32, interpolation="bicubic"),
        reported=None,
        licence="MIT",
        note="made here",
    )


def test_a_published_file_is_recognised_by_its_hash(write, tmp_path, small_zoo, monkeypatch):
    file, to = write(BOTTLENECK), tmp_path / "ours.safetensors"
    entry = published_entry(file, "resnet50-v1.5")
    monkeypatch.setattr(published, "_ENTRIES", (entry,))
    made = converting.convert(file, to)
    assert made.spec.stride_on == "3x3"
    assert made.preprocess == entry.preprocess
    assert made.about["name"] == "us/net.v1"
    assert made.about["source"]["published"] == "us/net.v1"
    assert made.about["source"]["licence"] == "MIT"
    assert converting.convert(file, to, preprocess=SMALL).preprocess.crop_px == 32
    assert converting.convert(file, to, model="resnet50-v1.5").spec == made.spec
    to.unlink()
    message = refused(ModelError, file, to, model="resnet50")
    assert "us/net.v1, a resnet50-v1.5, not resnet50" in message


@pytest.fixture
def cached(monkeypatch, tmp_path, write):
    """A published network that is fetched from this folder; counts how often."""
    file = write(replace(BASIC, classes=1000))
    monkeypatch.setitem(zoo._ZOO, "tiny", replace(BASIC, classes=1000))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(published.CATALOGUE, "us/net.v1", published_entry(file, "tiny"))
    fetched = []
    monkeypatch.setattr(published, "fetch", lambda name: fetched.append(name) or file)
    return fetched


def test_published_weights_are_fetched_and_converted_once(cached):
    made = converting.from_published("us/net.v1")
    assert made.preprocess.interpolation == "bicubic"
    assert made.classes == imagenet_classes.names()
    assert made.path.name == "net.v1.safetensors"
    again = converting.from_published("us/net.v1")
    assert again.weights_sha256 == made.weights_sha256
    assert cached == ["us/net.v1"]


def test_a_damaged_conversion_in_the_cache_is_made_again(cached):
    made = converting.from_published("us/net.v1")
    content = made.path.read_bytes()
    made.path.write_bytes(content[:-5])
    assert converting.from_published("us/net.v1").weights_sha256 == made.weights_sha256
    assert made.path.read_bytes() == content
    assert len(cached) == 2


# --- How images are prepared.


def test_every_setting_of_the_preprocessing_can_be_said(write, tmp_path):
    said = "caffe,resize=300,crop=288,interpolation=bicubic,mean=0.5/0.25/0.125,std=0.5/1/0.25"
    made = converting.convert(write(), tmp_path / "ours.safetensors", preprocess=said)
    assert made.preprocess == Preprocess(
        resize_px=300,
        crop_px=288,
        interpolation="bicubic",
        mean=(0.5, 0.25, 0.125),
        std=(0.5, 1.0, 0.25),
    )
    first = weights(BASIC)["stem.conv1.weight"]
    assert torch.equal(made.model["stem.conv1.weight"], first.flip(1))  # blue first
    scaled = converting.convert(write(), tmp_path / "ours.safetensors", preprocess="scaled")
    assert (scaled.preprocess.mean, scaled.preprocess.std) == ((0, 0, 0), (1, 1, 1))
    assert torch.equal(scaled.model["stem.conv1.weight"], first)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (None, "say --preprocess torchvision or caffe or scaled"),
        ("", "begins with one of torchvision, caffe, scaled"),
        ("resize=40", "begins with one of"),
        ("Torchvision", "begins with one of"),
        ("torchvision,", "settings are resize, crop, interpolation, mean, std"),
        ("torchvision,size=40", "size=40: settings are resize"),
        ("torchvision,resize", "resize takes a whole number of pixels"),
        ("torchvision,resize=4.5", "resize=4.5: resize takes a whole number of pixels"),
        ("torchvision,crop=big", "crop=big: crop takes a whole number"),
        ("torchvision,crop=0", "a crop of 0 px"),
        ("torchvision,crop=288", "a crop of 288 px from a shorter side of 256 px"),
        ("torchvision,resize=100000", "resize <= 4096"),
        ("torchvision,mean=0.5", "mean=0.5: mean takes three numbers, R/G/B"),
        ("torchvision,mean=1/2/3/4", "mean takes three numbers"),
        ("torchvision,mean=nan/0/0", "mean takes three numbers"),
        ("torchvision,std=a/b/c", "std takes three numbers"),
        ("torchvision,std=1/inf/1", "std takes three numbers"),
        ("torchvision,std=1/0/1", "must be positive"),
        ("torchvision,interpolation=nearest", "interpolation is bilinear or bicubic"),
    ],
)
def test_a_preprocessing_that_cannot_be_understood_costs_one_line(write, tmp_path, said, words):
    assert words in refused(DataError, write(), tmp_path / "o.safetensors", preprocess=said)


# --- Class names.


def test_class_names_come_from_a_file_a_line_each(write, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("red fox\nowl\nMöwe \nd\ne\n", encoding="utf-8")
    to = tmp_path / "ours.safetensors"
    made = converting.convert(write(), to, preprocess=SMALL, classes=names)
    assert made.classes == ("red fox", "owl", "Möwe", "d", "e")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\nb\n", "has 2 lines, the network 5 classes"),
        (b"a\nb\n\nd\ne\n", "one name a line"),
        (b"", "has 0 lines"),
        (b"\xff\xfe", "not a readable text file"),
        (None, "not a readable text file"),
    ],
)
def test_a_file_of_class_names_that_does_not_fit_is_refused(write, tmp_path, content, words):
    names = tmp_path / "names.txt"
    if content is not None:
        names.write_bytes(content)
    to = tmp_path / "ours.safetensors"
    message = refused(DataError, write(), to, preprocess=SMALL, classes=names)
    assert words in message
    assert "--classes" in message


# --- Where it goes.


def test_a_checkpoint_goes_to_a_name_that_says_what_it_is(write, tmp_path):
    for name in ("ours.pth", "ours"):
        message = refused(CheckpointError, write(), tmp_path / name, preprocess=SMALL)
        assert "ends in .safetensors" in message


def test_a_place_that_cannot_be_written_costs_one_line(write, tmp_path):
    (tmp_path / "a-file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        converting.convert(write(), tmp_path / "a-file" / "o.safetensors", preprocess=SMALL)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        converting.convert(write(), tmp_path / "folder.safetensors", preprocess=SMALL)
    assert list((tmp_path / "folder.safetensors").iterdir()) == []
    assert not list(tmp_path.rglob("*.partial"))


def test_a_checkpoint_of_ours_is_not_converted_again(write, tmp_path):
    made = converting.convert(write(), tmp_path / "ours.safetensors", preprocess=SMALL)
    message = refused(CheckpointError, made.path, tmp_path / "again.safetensors")
    assert "a checkpoint of resnets already" in message


# --- What can be done with it.


@pytest.fixture
def pictures(tmp_path):
    """Four images with a table of their classes."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(0)
    rows = ["file,class_index"]
    for i in range(4):
        pixels = draw.integers(0, 255, (50, 60, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{i}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def test_a_converted_network_evaluates_predicts_is_inspected_and_exported(
    write, tmp_path, pictures
):
    file = write()
    made = converting.convert(file, tmp_path / "ours.safetensors", preprocess=SMALL)
    measured = evaluate.evaluate(made.path, pictures, device="cpu")
    assert measured.images == 4
    assert "shorter side 40 px (bilinear with antialiasing), central 32 px" in measured.protocol
    assert measured.checkpoints[0]["name"] == "w"
    classifier = loading.load(made.path, "cpu")
    ranked = classifier.predict([pictures / "0.png"], top=9)[0]
    assert sum(one.probability for one in ranked) == pytest.approx(1)
    assert len(ranked) == 5
    told = inspection.inspect(str(made.path)).to_dict()
    assert told["weights_sha256"] == made.weights_sha256
    assert json.dumps(told)
    exported = converting.export(made, tmp_path / "back.pth")
    assert exported["names"] == "torchvision"
    assert exported["preprocessing"]["crop_px"] == 32
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert exported["tensors"] == len(back)
    theirs = torch.load(file, weights_only=True)["state_dict"]
    assert {f"module.{name}" for name in back} == set(theirs)
    assert all(torch.equal(t, theirs[f"module.{name}"]) for name, t in back.items())


def test_weights_without_their_data_say_that_it_has_to_be_named(write, tmp_path):
    made = converting.convert(write(), tmp_path / "ours.safetensors", preprocess=SMALL)
    with pytest.raises(DataError, match="came without their data; say --data D"):
        evaluate.evaluate(made.path, device="cpu")


@pytest.mark.parametrize("ending", [".pth", ".pt", ".safetensors"])
def test_a_run_is_exported_under_akamasters_names(finished, tmp_path, ending):
    checkpoint = checkpoints.newest(finished)
    to = tmp_path / f"back{ending}"
    told = converting.export(checkpoint, to)
    assert (told["file"], told["names"], told["model"]) == (str(to), "cifar", "cifar-resnet8")
    back = load_file(to) if ending == ".safetensors" else torch.load(to, weights_only=True)
    made = foreign.to_ours(back, "cifar", checkpoint.spec)
    assert all(torch.equal(made[name], t) for name, t in checkpoint.model.items())


def exported(spec, tmp_path, to="back.pth"):
    """Export an untrained network of that spec."""
    with torch.device("meta"):
        shapes = making.make(spec).state_dict()
    checkpoint = checkpoints.Checkpoint(
        path=tmp_path / "ours.safetensors",
        about={},
        spec=spec,
        preprocess=Preprocess(resize_px=256, crop_px=224),
        mean_hwc=torch.zeros(1, 1, 3),
        recipe=None,
        model={n: torch.empty((), dtype=t.dtype).expand(t.shape) for n, t in shapes.items()},
        optimizer={},
    )
    return converting.export(checkpoint, tmp_path / to)


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18-a", "resnet34-c", "plain18", "highway34", "googlenet", "prelu-net"),
        *("cifar-plain20", "cifar-highway20", "cifar-resnet20-c"),
        *("resnet50", "resnet152"),  # stride on the first 1x1, where nobody else has it
    ],
)
def test_a_network_that_no_other_library_has_is_not_exported(name, tmp_path):
    with pytest.raises(ModelError) as caught:
        exported(zoo.named(name), tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_export_goes_to_a_name_that_says_what_it_is(tmp_path):
    with pytest.raises(CheckpointError, match=r"ending in \.pth, \.pt or \.safetensors"):
        exported(BASIC, tmp_path, "back.onnx")
    (tmp_path / "a-file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        exported(BASIC, tmp_path, "a-file/back.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["a-file"]


def test_colours_up_to_255_are_refused_where_they_are_meant_from_0_to_1(write, tmp_path):
    said = "caffe,mean=123.68/116.779/103.939"
    with pytest.raises(DataError, match="divide by 255"):
        converting.convert(write(), tmp_path / "ours.safetensors", preprocess=said)


def test_a_checkpoint_is_not_exported_onto_itself(write, tmp_path):
    to = tmp_path / "ours.safetensors"
    made = converting.convert(write(), to, preprocess="scaled")
    before = to.read_bytes()
    with pytest.raises(CheckpointError, match="is the checkpoint itself"):
        converting.export(made, to)
    assert to.read_bytes() == before


def test_the_epsilon_of_a_keras_file_goes_into_the_variances(tmp_path):
    tensors = {"bn/moving_variance": torch.ones(3), "conv/kernel": torch.ones(3)}
    layers = {"bn": {"epsilon": 1e-3}, "conv": {"dilation_rate": [1, 1]}}
    read = ForeignFile(tmp_path / "x.h5", "keras-h5", tensors, layers, "00")
    found = converting._with_our_epsilon(read).tensors
    assert torch.equal(found["bn/moving_variance"], torch.ones(3) + (1e-3 - 1e-5))
    assert torch.equal(found["conv/kernel"], torch.ones(3))
    assert torch.equal(tensors["bn/moving_variance"], torch.ones(3))
    layers["conv"]["dilation_rate"] = [2, 2]
    with pytest.raises(CheckpointError, match="conv is dilated"):
        converting._with_our_epsilon(read)


def test_negative_variances_are_refused(write, tmp_path):
    tensors = torch.load(write(), weights_only=True)
    tensors = tensors.get("state_dict", tensors)
    name = next(name for name in tensors if name.endswith("layer1.0.bn1.running_var"))
    tensors[name][0] = -1
    torch.save(tensors, tmp_path / "broken.pth")
    with pytest.raises(CheckpointError, match=r"broken.pth: negative variances at our stages"):
        converting.convert(tmp_path / "broken.pth", tmp_path / "x.safetensors", preprocess="scaled")
    assert not (tmp_path / "x.safetensors").exists()
