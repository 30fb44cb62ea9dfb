import pytest

from resnets.core.errors import DataError
from resnets.data import opening, voc
from samples import jpeg, voc_xml, write_voc

CAT = ("cat", (1, 1, 20, 10), 0)


def refused(folder):
    with pytest.raises(DataError) as caught:
        opening.open_data(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_year_is_opened_with_its_splits_and_objects(tmp_path):
    folder = write_voc(
        tmp_path / "blood",
        {"train": ["b", "a"], "val": ["c"], "trainval": ["a", "b", "c"], "test": ["d"]},
        {"a": [("RBC", (1, 1, 20, 10), 0), ("WBC", (5, 6, 60, 40), 1)], "b": [], "c": [], "d": []},
    )
    (folder / "ImageSets/Main/RBC_train.txt").write_text("a  1\nb -1\n")
    data = opening.open_data(folder)
    assert (data.name, data.where) == ("blood", str(folder))
    assert (data.classes, data.category_ids) == (("RBC", "WBC"), (1, 2))
    assert {name: split.ids for name, split in data.splits.items()} == {
        "train": ("b", "a"),
        "validation": ("c",),
        "test": ("d",),
    }
    train = data.splits["train"]
    assert train.names == ("JPEGImages/b.jpg", "JPEGImages/a.jpg")
    assert train.read(0) == (folder / "JPEGImages/b.jpg").read_bytes()
    assert len(train.objects[0]) == 0
    objects = train.objects[1]
    assert objects.boxes_n4.tolist() == [[0, 0, 20, 10], [4, 5, 60, 40]]
    assert objects.classes_n.tolist() == [0, 1]
    assert objects.ignored_n.tolist() == [False, True]
    assert objects.crowd_n.tolist() == [False, False]
    assert objects.area_n.tolist() == [200, 56 * 35]
    assert train.sizes_n2.tolist() == [[60, 40], [60, 40]]
    assert train.annotated
    assert train.flaws == ()


def test_names_among_vocs_own_are_numbered_as_vocs(tmp_path):
    objects = {"a": [("dog", (1, 1, 9, 9), 0), ("aeroplane", (1, 1, 9, 9), 0)]}
    data = opening.open_data(write_voc(tmp_path / "pets", {"train": ["a"]}, objects))
    assert (data.name, data.classes) == ("pets", voc.CLASSES)
    assert data.splits["train"].objects[0].classes_n.tolist() == [11, 0]
    assert sorted(voc.CLASSES) == list(voc.CLASSES)
    assert len(voc.CLASSES) == 20


def test_all_of_vocs_names_are_voc(tmp_path):
    objects = {"a": [(name, (1, 1, 9, 9), 0) for name in voc.CLASSES]}
    assert opening.open_data(write_voc(tmp_path / "x", {"train": ["a"]}, objects)).name == "voc"


@pytest.mark.parametrize("above", ["", "VOCdevkit"])
def test_years_are_splits_of_their_own(tmp_path, above):
    for year, name in ((2012, "2008_000001"), (2007, "000001")):
        folder = tmp_path / above / f"VOC{year}"
        write_voc(folder, {"train": [name], "trainval": [name]}, {name: [CAT]})
    data = opening.open_data(tmp_path)
    assert list(data.splits) == ["2007/train", "2012/train"]
    assert data.splits["2012/train"].names == ("VOC2012/JPEGImages/2008_000001.jpg",)
    assert data.splits["2012/train"].ids == ("2008_000001",)
    assert data.splits["2012/train"].image(0).size == (60, 40)
    both = data.select(["2007/train", "2012/train"])
    assert [len(each) for each in both.objects] == [1, 1]
    assert list(opening.open_data(tmp_path / above / "VOC2007").splits) == ["train"]


def test_train_and_validation_that_are_not_told_apart_are_train(tmp_path):
    data = opening.open_data(write_voc(tmp_path, {"trainval": ["a", "b"], "test": ["c"]}))
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 2, "test": 1}


def test_without_lists_all_that_is_annotated_is_one_split(tmp_path):
    write_voc(tmp_path / "a", {"default": ["x", "y"]}, {"y": [CAT]})
    assert opening.open_data(tmp_path / "a").splits["validation"].ids == ("y",)


def test_a_test_split_without_annotations_has_none_rather_than_empty_images(tmp_path):
    objects = {"a": [CAT], "b": [CAT]}  # b is in the test of person layout
    folder = write_voc(tmp_path, {"train": ["a"], "test": ["b", "c", "d"]}, objects)
    test = opening.open_data(folder).splits["test"]
    assert not test.annotated
    assert test.ids == ("b", "c", "d")
    assert [len(each) for each in test.objects] == [0, 0, 0]
    assert test.flaws == ()


def test_a_few_images_without_annotation_or_file_are_left_out_and_told(tmp_path):
    folder = write_voc(tmp_path, {"train": list("abcd")}, {"a": [CAT], "b": [CAT], "c": [CAT]})
    (folder / "JPEGImages/b.jpg").unlink()
    train = opening.open_data(folder).splits["train"]
    assert train.ids == ("a", "c")
    assert [(flaw.kind, flaw.name) for flaw in train.flaws] == [
        ("missing-image", "b"),
        ("unannotated", "JPEGImages/d.jpg"),
    ]


def test_odd_objects_are_left_out_and_told(tmp_path):
    inside = (
        b"<object><name>cat</name></object>"
        b"<object><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
        b"<object><name>cat</name><bndbox><xmin>x</xmin><ymin/><xmax>9</xmax></bndbox></object>"
        b"<object><name>cat</name><difficult>Unspecified</difficult><bndbox><ymax> 9.5 </ymax>"
        b"<xmin>0</xmin><ymin>1</ymin><xmax>9</xmax></bndbox><part><name>head</name></part></object>"
    )
    folder = write_voc(tmp_path, {"train": ["a"]}, {"a": b"<annotation>%b</annotation>" % inside})
    train = opening.open_data(folder).splits["train"]
    assert train.objects[0].boxes_n4.tolist() == [[0, 0, 9, 9.5]]
    assert [flaw.kind for flaw in train.flaws] == [
        *("no-number", "unknown-category", "no-number", "clipped")
    ]
    assert train.flaws[1].why == "no name at 0, 0, 9, 9 in 60 x 40 px"
    assert train.sizes_n2.tolist() == [[60, 40]]  # from the file, as the annotation has no size


def test_pictures_of_other_kinds_and_in_folders_are_found(tmp_path):
    folder = write_voc(tmp_path, {"train": ["a"]}, {"a": [CAT]})
    (folder / "ImageSets/Main/train.txt").write_bytes(b"\xef\xbb\xbfa\r\n\r\nnight/b c\r\n")
    for inside, name, content in (
        ("JPEGImages", "b c.PNG", jpeg(7)),
        ("Annotations", "b c.xml", voc_xml([])),
    ):
        (folder / inside / "night").mkdir()
        (folder / inside / "night" / name).write_bytes(content)
    assert opening.open_data(folder).splits["train"].names[1] == "JPEGImages/night/b c.PNG"


LAUGHS = b'<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>'
READS = b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>'
ELSEWHERE = b'<!DOCTYPE annotation SYSTEM "http://127.0.0.1/a.dtd"><annotation></annotation>'


@pytest.mark.parametrize("content", [LAUGHS, READS, ELSEWHERE])
def test_a_document_type_is_refused_before_anything_is_expanded(tmp_path, content):
    folder = write_voc(tmp_path, {"train": ["a"]}, {"a": content})
    assert "a.xml: has a document type (<!DOCTYPE), which annotations have not" in refused(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an annotation in XML (no element found"),
        (voc_xml([CAT])[:-20], "not an annotation in XML"),
        (b"<annotation>&lol;</annotation>", "not an annotation in XML (undefined entity"),
        (b'<?xml version="1.0" encoding="latin-99"?><annotation/>', "not an annotation in XML"),
        (b'<?xml version="1.0" encoding="shift_jis"?><annotation/>', "not an annotation in XML"),
        (b"<html><body/></html>", "begins with <html>, not with VOC's <annotation>"),
    ],
)
def test_a_damaged_annotation_is_refused_naming_it(tmp_path, content, message):
    folder = write_voc(tmp_path, {"train": ["a"]}, {"a": content})
    assert f"a.xml: {message}" in refused(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb\na\n", "train.txt: lists 'a' 2 times; leave one"),
        (b"\n", "train.txt: lists no images"),
        (b"\xff\xfe", "train.txt: not a list of images"),
        (b"x\n../JPEGImages/a\n", "none of the 2 images of train is in JPEGImages/"),
    ],
)
def test_a_damaged_list_is_refused_naming_it(tmp_path, content, message):
    folder = write_voc(tmp_path, {"train": ["a", "b"]})
    (folder / "ImageSets/Main/train.txt").write_bytes(content)
    assert message in refused(folder)


def test_two_lists_to_validate_on_are_refused(tmp_path):
    folder = write_voc(tmp_path, {"val": ["a"], "validation": ["b"]})
    assert "two splits would be called 'validation'" in refused(folder)
