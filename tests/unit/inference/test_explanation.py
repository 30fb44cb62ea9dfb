import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.core.errors import ImageError, ModelError, ResNetsError, StorageError
from resnets.inference import explanation, pictures
from resnets.inference.pictures import Picture
from resnets.models import making
from resnets.models.network import he_init
from resnets.models.spec import (
    GoogLeNetSpec,
    PReLUNetSpec,
    ResNetSpec,
    StageSpec,
    StemSpec,
    VggSpec,
)

CLASSES = tuple("abcde")


def network(shortcut="B", block="basic", seed=0):
    made = making.make(
        ResNetSpec(
            stem=StemSpec(kernel=3, width=4, stride=1, pool=False),
            block=block,
            stages=(StageSpec(blocks=1, width=4, stride=1), StageSpec(blocks=1, width=8, stride=2)),
            shortcut=shortcut,
            classes=5,
        )
    ).eval()
    draw = torch.Generator().manual_seed(seed)
    he_init(made, draw)
    torch.nn.init.normal_(made.head.bias, generator=draw)
    return made


PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
READY = torch.from_numpy(PIXELS).float().div(128).sub(1).permute(2, 0, 1)[None]


def explained(made, index=None, ready=READY, pixels=PIXELS):
    return explanation.of_view(
        made, ready, pixels, file="a.png", classes=CLASSES, class_index=index
    )


# The map.


@pytest.mark.parametrize("shortcut", ["none", "A", "B", "C", "highway"])
@pytest.mark.parametrize("index", range(5))
def test_the_mean_of_the_map_and_the_bias_are_the_logit(shortcut, index):
    made = network(shortcut)
    found = explained(made, index)
    with torch.inference_mode():
        logits = made(READY)[0]
    assert found.map_hw.shape == (16, 16)
    assert found.map_hw.dtype == torch.float32
    assert float(found.map_hw.mean()) + found.bias == pytest.approx(float(logits[index]), abs=1e-4)
    assert found.probability == pytest.approx(float(logits.softmax(0)[index]), abs=1e-6)
    assert (found.class_index, found.class_name) == (index, CLASSES[index])


def test_the_map_is_the_last_layer_applied_at_every_place():
    made = network("B", "bottleneck")
    found = explained(made, 2)
    with torch.inference_mode():
        last = list(made.features(READY).values())[-1][0]
        for row in range(0, 16, 5):
            for column in range(0, 16, 5):
                alone = float(made.head(last[:, row, column])[2]) - found.bias
                assert float(found.map_hw[row, column]) == pytest.approx(alone, abs=1e-4)


def test_the_maps_of_all_classes_add_to_that_of_their_sum():
    made = network()
    total = sum(explained(made, index).map_hw for index in range(5))
    with torch.no_grad():
        made.head.weight[0] = made.head.weight.sum(0)
    torch.testing.assert_close(explained(made, 0).map_hw, total, atol=1e-4, rtol=1e-4)


def test_by_default_it_is_the_most_probable_class():
    made = network()
    found = explained(made)
    assert found.probability == max(explained(made, index).probability for index in range(5))


def test_what_it_says_of_itself():
    found = explained(network())
    assert found.file == "a.png"
    assert found.method == explanation.EXACT
    assert np.array_equal(np.asarray(found.view), PIXELS)


@pytest.mark.parametrize("index", [-1, 5])
def test_a_class_that_is_not_there_is_refused(index):
    with pytest.raises(ResNetsError, match=f"^class {index}: this network has 5 classes, from 0$"):
        explained(network(), index)


OTHERS = {
    "vgg": VggSpec(convolutions=(1, 1, 1, 1, 1), classes=5),
    "prelu-net": PReLUNetSpec(classes=5),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_network_that_has_no_exact_map_is_refused_in_one_line(kind):
    with torch.device("meta"):
        made = making.make(OTHERS[kind])
    with pytest.raises(ModelError, match=f"^--explain: {kind} does not end in a mean") as caught:
        explained(made)
    assert "\n" not in str(caught.value)


def test_the_map_of_googlenet_is_exact_too():
    made = making.make(GoogLeNetSpec(classes=5)).eval()
    ready = torch.nn.functional.interpolate(READY, size=(64, 64))
    found = explained(made, 2, ready)
    with torch.inference_mode():
        logit = float(made(ready)[0, 2])
    assert float(found.map_hw.mean()) + found.bias == pytest.approx(logit, abs=1e-4)


# The picture.


def as_array(image):
    return np.asarray(image, dtype=np.int64)


def shown(found):
    """The two halves of the picture: the view, and the view under its map."""
    page, side, margin = found.picture(), explanation._SIDE_PX, explanation._MARGIN_PX
    halves = [
        page.crop((left, margin, left + side, margin + side))
        for left in (margin, 2 * margin + side)
    ]
    return [as_array(half) for half in halves]


def with_map(values, **changes):
    grey = Image.new("RGB", (32, 32), (128, 128, 128))
    made = replace(explained(network()), map_hw=torch.tensor(values), view=grey)
    return replace(made, **changes)


def test_evidence_for_is_red_against_is_blue_and_none_is_grey():
    _, half = shown(with_map([[9.0, 0.0, -9.0]]))
    middle = explanation._SIDE_PX // 2
    for_it, nothing, against = half[middle, 20], half[middle, middle], half[middle, -20]
    assert for_it[0] > for_it[2] + 100
    assert against[2] > against[0] + 50
    assert nothing.max() - nothing.min() < 8


@pytest.mark.parametrize("most", [10.0, -10.0])
def test_both_signs_have_one_scale_so_that_little_evidence_is_faint(most):
    _, half = shown(with_map([[most, 0.0, -most / 10]]))
    faint = half[explanation._SIDE_PX // 2, -20]
    assert 0 < faint.max() - faint.min() < 30


def test_no_place_shows_evidence_that_is_not_there():
    # A bicubic through these numbers goes below 0 beside the 9, and above -9 beside the -9.
    for sign in (1, -1):
        _, half = shown(with_map([[0.0, 0.0, sign * 9.0, 0.0, 0.0]]))
        redder = half[:, :, 0] - half[:, :, 2]
        assert (sign * redder >= -1).all()


def test_a_class_that_nothing_spoke_for_is_all_blue():
    _, half = shown(with_map([[-3.0, -9.0], [-9.0, -3.0]]))
    assert (half[:, :, 2] > half[:, :, 0]).all()


@pytest.mark.parametrize("value", [0.0, float("nan"), 4.0, -4.0, 1e-30, 1e30])
def test_any_map_can_be_drawn(value):
    found = with_map([[value, value], [value, value]], bias=value, probability=value)
    plain, half = shown(found)
    assert (plain == 128).all()
    assert (half == half[0, 0]).all()


def drawn_text(found, monkeypatch):
    """Every text of the picture with its box, as Pillow says where it is."""
    written = []
    real = explanation.ImageDraw.ImageDraw.text

    def text(self, xy, text, *given, **named):
        font = named.get("font") or given[1]
        box = self.textbbox(xy, text, font=font, anchor=named.get("anchor"))
        written.append((text, box, self.im.size))
        return real(self, xy, text, *given, **named)

    monkeypatch.setattr(explanation.ImageDraw.ImageDraw, "text", text)
    found.picture()
    return written


@pytest.mark.parametrize("name", ["W" * 300, "two\nlines and\ttabs", "i" * 2000, "ü 犬", ""])
@pytest.mark.parametrize("values", [[[1.0, -2.0]], [[-1234567.0, 7654321.0]], [[-1e-7, 0.0]]])
def test_nothing_that_is_written_leaves_the_page_or_meets_other_text(name, values, monkeypatch):
    found = with_map(values, class_name=name, file=f"{name}/{name}", method=name, bias=-1e9)
    written = drawn_text(found, monkeypatch)
    assert len(written) >= 9
    for text, (left, top, right, bottom), (width, height) in written:
        assert "\n" not in text
        assert 0 <= left <= right <= width, text
        assert 0 <= top <= bottom <= height, text
    page = written[0][2]
    boxes = [(text, box) for text, box, size in written if size == page]
    for i, (text, (left, top, right, bottom)) in enumerate(boxes):
        for other, (left2, top2, right2, bottom2) in boxes[:i]:
            apart = right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top
            assert apart, (text, other)


def test_the_caption_says_the_class_the_logit_and_the_method(monkeypatch):
    found = with_map([[2.0, 4.0]], bias=-0.5, probability=0.25, class_name="tench")
    texts = [text for text, _, _ in drawn_text(found, monkeypatch)]
    assert "tench, 25.0 %" in texts
    assert "a.png" in texts
    assert "logit 2.50 = 3.00 (mean of the map) - 0.50 (bias)" in texts
    assert explanation.EXACT in texts
    assert "contribution to the logit" in texts
    assert {"0", "+1", "+2", "+3", "+4"} <= set(texts)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 57.9), (-3.8, 46.7), (-9, 0), (0, 1e-7), (-1e6, 3), (0, 10), (-5, 5)]
)
def test_the_numbers_of_the_scale_are_round_and_few_and_inside(low, high):
    ticks = explanation._ticks(low, high)
    assert 4 <= len(ticks) <= 9
    assert 0 in ticks
    assert low <= min(ticks)
    assert max(ticks) <= high
    steps = np.diff(ticks)
    assert steps.max() == pytest.approx(steps.min())
    assert re.fullmatch(r"[125]e[+-]\d\d", f"{steps[0]:.0e}")


def test_the_picture_is_a_png_that_opens_and_is_the_same_every_time():
    found = explained(network())
    content = found._repr_png_()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.mode == "RGB"
        assert np.array_equal(np.asarray(opened), np.asarray(found.picture()))
    assert found._repr_png_() == content


# Where pictures go.


def named(*names):
    return [Picture(str(name), lambda: Image.new("RGB", (8, 8))) for name in names]


def test_one_image_may_go_to_a_png_and_any_number_to_a_folder(tmp_path):
    for to in (tmp_path, tmp_path / "new", tmp_path / "a.png", tmp_path / "A.PNG"):
        explanation.check(network(), to, named("x.jpg"))
    for to in (tmp_path, tmp_path / "new"):
        explanation.check(network(), to, named("x.jpg", "y.jpg"))
    (tmp_path / "folder.png").mkdir()
    explanation.check(network(), tmp_path / "folder.png", named("x.jpg", "y.jpg"))


@pytest.mark.parametrize(
    ("name", "count", "match"),
    [
        ("a.png", 2, "for 2 images, name a folder"),
        ("a.jpg", 1, "takes a file ending in .png, or a folder"),
        ("a.jpg", 3, "takes a file ending in .png, or a folder"),
        ("file", 1, "takes a file ending in .png, or a folder"),
    ],
)
def test_a_place_that_does_not_do_is_refused_before_anything_is_written(
    tmp_path, name, count, match
):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ResNetsError, match=match) as caught:
        explanation.check(network(), tmp_path / name, named(*"xyz"[:count]))
    assert str(caught.value).startswith(f"--explain {tmp_path / name}: ")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_image_is_not_written_over_by_its_explanation(tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", str(tmp_path / "a.png"), "x/../a.png"):
        with pytest.raises(ResNetsError, match="is the image itself; name another file"):
            explanation.check(network(), tmp_path / "a.png", named(name))


def explain(picture):
    if "bad" in picture.name:
        raise ImageError(f"{picture.name}: bad")
    return replace(explained(network()), file=picture.name)


def drawn(wanted, to):
    return [path for path, _ in explanation.draw(explain, wanted, to)]


def test_one_picture_goes_to_the_file_that_was_named(tmp_path):
    to = tmp_path / "new" / "out.png"
    assert drawn(named("x.jpg"), to) == [to]
    with Image.open(to) as opened:
        opened.load()


def test_each_picture_gets_a_name_of_its_own_in_a_folder(tmp_path):
    wanted = named("x/a.jpg", "y/a.png", "a-2.jpg", "y/A.jpg", "two words.webp", "standard input")
    to = tmp_path / "new"
    paths = drawn(wanted, to)
    assert [path.name for path in paths] == [
        *("a.png", "a-2.png", "a-2-2.png", "A-3.png", "two words.png", "standard input.png"),
    ]
    assert sorted(to.iterdir()) == sorted(paths)


def test_a_picture_that_cannot_be_decoded_is_left_out_and_takes_no_name(tmp_path):
    found = drawn(named("bad/a.jpg", "a.jpg", "bad.png"), tmp_path / "new")
    assert [path.name for path in found] == ["a.png"]


def test_explaining_again_writes_over_what_was_written_before(tmp_path):
    for _ in range(2):
        assert drawn(named("x/a.jpg"), tmp_path) == [tmp_path / "a.png"]
    assert len(list(tmp_path.iterdir())) == 1


def test_in_the_pictures_own_folder_no_file_is_written_over(tmp_path):
    for name in ("a.png", "b.png", "other.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "OTHER.txt").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    wanted = named(tmp_path / "a.png", tmp_path / "b.png", "elsewhere/other.jpg")
    made = drawn(wanted, tmp_path)
    assert [path.name for path in made] == ["a-2.png", "b-2.png", "other-2.png"]
    assert {path: path.read_bytes() for path in before} == before


def test_a_place_that_cannot_be_written_to_is_said(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="cannot write"):
        drawn(named("a.jpg"), tmp_path / "file" / "new")


def test_a_real_file_is_explained_from_its_name_to_its_picture(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "my photo.png")
    wanted = pictures.find([str(tmp_path / "my photo.png")])
    ((path, found),) = explanation.draw(explain, wanted, tmp_path / "out")
    assert path == tmp_path / "out" / "my photo.png"
    assert found.file == str(tmp_path / "my photo.png")
