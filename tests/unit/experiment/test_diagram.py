import functools
import itertools
import xml.etree.ElementTree as ET
from collections import Counter

import pytest

from resnets.core.errors import StorageError
from resnets.experiment import diagram, inspection

SVG = "{http://www.w3.org/2000/svg}"
WIDE = 0.6  # of a letter by its size, in a wide font


@functools.cache
def drawn(name):
    return ET.fromstring(inspection.inspect(name).diagram().svg)


def kinds(root, group="network"):
    """Count the shapes of the groups of one kind by what they stand for."""
    groups = [each for each in root.iter(f"{SVG}g") if each.get("class") == group]
    assert groups
    return Counter(shape.get("class") for each in groups for shape in each.iter())


def dotted(root, kind):
    paths = [each for each in root.iter(f"{SVG}path") if each.get("class") == kind]
    assert paths
    (answer,) = {each.get("stroke-dasharray") is not None for each in paths}
    return answer


@pytest.mark.parametrize(
    ("name", "convolutions", "identities", "projections", "padded"),
    [
        ("resnet18", 17, 5, 3, 0),
        ("resnet34", 33, 13, 3, 0),
        ("plain34", 33, 0, 0, 0),
        ("resnet34-c", 33, 0, 16, 0),
        ("resnet34-a", 33, 13, 0, 3),
        ("highway34", 33, 13, 0, 3),
        ("resnet50", 49, 12, 4, 0),
        ("cifar-resnet20", 19, 7, 0, 2),
        # Folded: the first block of each stage and one of those that follow it.
        ("resnet152", 1 + 3 * 8, 4, 4, 0),
        ("cifar-resnet110", 1 + 2 * 5, 3, 0, 2),
    ],
)
def test_every_convolution_is_a_box_and_every_shortcut_an_arc(
    name, convolutions, identities, projections, padded
):
    found = kinds(drawn(name))
    assert found["convolution"] == convolutions
    assert found["linear"] == 1
    assert found["shortcut identity"] == identities
    assert found["shortcut projection"] == projections
    assert found["shortcut zero-padding"] == padded
    assert found["addition"] == identities + projections + padded


def test_identities_are_solid_and_what_changes_the_size_is_dotted():
    root = drawn("resnet34")
    assert not dotted(root, "shortcut identity")
    assert dotted(root, "shortcut projection")
    assert dotted(drawn("resnet34-a"), "shortcut zero-padding")


def test_a_folded_network_says_how_often_each_block_stands_there():
    times = [each.text for each in drawn("resnet152").iter(f"{SVG}text") if "× " in each.text]
    assert [each for each in times if each.startswith("×")] == ["× 2", "× 7", "× 35", "× 2"]
    assert kinds(drawn("resnet34"))["fold"] == 0


def test_only_a_highway_network_has_gates():
    assert kinds(drawn("highway34"))["gate"] == 16
    assert kinds(drawn("resnet34"))["gate"] == 0


def test_boxes_say_what_the_paper_writes_in_them_and_stages_their_sizes():
    words = Counter(each.text for each in drawn("resnet34").iter(f"{SVG}text"))
    for text in ("7x7 conv, 64, /2", "3x3 max pool, /2", "3x3 conv, 256, /2", "fc 1000"):
        assert words[text] == 1
    assert words["3x3 conv, 64"] == 6 + 2  # and twice in the block beside
    sizes = [f"output {side}×{side}" for side in (112, 56, 28, 14, 7)]
    assert [text for text in words if text.startswith("output")] == sizes
    assert "then 56×56" in words


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("resnet34", 2), ("resnet50", 2), ("plain34", 2), ("resnet34-c", 2), ("cifar-resnet20", 2)],
)
def test_every_kind_of_block_is_drawn_beside_the_network(name, blocks):
    root = drawn(name)
    assert sum(each.get("class") == "block" for each in root.iter(f"{SVG}g")) == blocks
    layers = {"resnet34": 2 + 3, "resnet50": 3 + 4, "plain34": 4, "resnet34-c": 6}
    assert kinds(root, "block")["layer"] == layers.get(name, 5)


def boxed(text):
    """Return where a text is: left, top, right, bottom."""
    size, x, y = (float(text.get(key)) for key in ("font-size", "x", "y"))
    width = len(text.text) * size * WIDE
    left = x - {"start": 0, "middle": width / 2, "end": width}[text.get("text-anchor")]
    return left, y - 0.75 * size, left + width, y + 0.25 * size


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


NAMES = [
    *("resnet18", "resnet34", "plain34", "resnet34-a", "resnet34-c", "highway34", "resnet50"),
    *("resnet50-v1.5", "resnet152", "cifar-resnet20", "cifar-resnet56", "cifar-resnet110"),
]


@pytest.mark.parametrize("name", NAMES)
def test_no_text_lies_on_another_or_leaves_the_picture_or_its_box(name):
    root = drawn(name)
    _, _, width, height = map(float, root.get("viewBox").split())
    texts = [(each.text, boxed(each)) for each in root.iter(f"{SVG}text")]
    assert len(texts) > 30
    for (one, a), (other, b) in itertools.combinations(texts, 2):
        assert not overlap(a, b), (one, other)
    for text, (left, top, right, bottom) in texts:
        assert 0 <= left < right <= width, text
        assert 0 <= top < bottom <= height, text
    boxes = [
        (x, y, x + w, y + h)
        for each in root.iter(f"{SVG}rect")
        if each.get("class") not in (None, "band")
        for x, y, w, h in [[float(each.get(key)) for key in ("x", "y", "width", "height")]]
    ]
    for text, place in texts:
        for box in boxes:
            inside = box[0] <= place[0] and place[2] <= box[2] and place[1] >= box[1]
            assert inside or not overlap(place, box), text


def test_a_longer_network_is_folded_and_a_shorter_one_is_not():
    assert kinds(drawn("cifar-resnet56"))["convolution"] == 55
    assert kinds(drawn("cifar-resnet62"))["convolution"] == 1 + 2 * 5


def test_it_stands_alone_and_shows_in_a_notebook():
    made = inspection.inspect("resnet18").diagram()
    assert made._repr_svg_() == made.svg
    assert made.svg.startswith('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ')
    assert "<style" not in made.svg  # would change other cells
    assert "href" not in made.svg


def test_a_name_may_hold_what_xml_cannot():
    strange = diagram.draw('a<b>&"c\x01\x7f' + 90 * "d", inspection.inspect("cifar-resnet8").cost)
    root = ET.fromstring(strange.svg)
    assert root.find(f"{SVG}title").text.startswith('a<b>&"c??ddd')
    assert next(root.iter(f"{SVG}text")).text == "..." + 67 * "d"


def test_it_is_saved_whole_under_a_name_that_ends_in_svg(tmp_path):
    made = inspection.inspect("cifar-resnet8").diagram()
    made.save(tmp_path / "new" / "net.SVG")
    assert (tmp_path / "new" / "net.SVG").read_text(encoding="utf-8") == made.svg
    with pytest.raises(StorageError, match=r"net\.png: .* ends in \.svg$"):
        made.save(tmp_path / "net.png")
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(StorageError, match=r"folder\.svg: a folder"):
        made.save(tmp_path / "folder.svg")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        made.save(tmp_path / "file" / "net.svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.svg", "new"]
