"""A report as text, as HTML and as JSON, to the letter."""

import json

import pytest

from resnets.data.findings import KINDS, Case, ClassCount, Finding, Place, Report, Spread

BY_CODE = {kind.code: kind for kind in KINDS}


def place(name, split="train", class_name="cat"):
    return Place(split, name, class_name)


def found(code, *cases):
    return Finding(BY_CODE[code], cases)


LEAKED = found(
    "leaked",
    *(
        Case((place(f"cat/{i}.jpg"), place(f"cat/x{i}.jpg"), place(f"cat/v{i}.jpg", "validation")))
        for i in range(5)
    ),
)
CUT = found("truncated", Case((place("cat/<cut>.jpg"),), why="cut off"))
EMPTY = found("empty-class", Case(class_name="owl"))
GREY = found("grey", Case((place("cat/grey.jpg"),)))


def report(*findings, refusal=None, bad=1, classes=2):
    counts = [ClassCount("owl", {"train": 0, "validation": 0}, {"train": 0, "validation": 0})]
    counts += [
        ClassCount(f"cat{i}", {"train": 1000 + i, "validation": 5}, {"train": bad, "validation": 0})
        for i in range(classes - 1)
    ]
    return Report(
        data="photos",
        where="/my photos",
        digest="abc",
        splits=("train", "validation"),
        by_class=tuple(counts),
        repeated_images=10,
        sizes={"width_px": Spread(20, 500, 4000), "height_px": Spread(32, 32, 32)},
        modes={"RGB": 1004, "L": 1},
        formats={"JPEG": 1005},
        findings=findings,
        refusal=refusal,
    )


TEXT = """\
photos: 1,005 images (1,000 train, 5 validation) in 1 of 2 classes; 1 cannot be read

error    5 images in several splits: the error measured on them is too low; keep each in one split
           train: cat/0.jpg = validation: cat/v0.jpg = train: cat/x0.jpg
           train: cat/1.jpg = validation: cat/v1.jpg = train: cat/x1.jpg
           train: cat/2.jpg = validation: cat/v2.jpg = train: cat/x2.jpg
           and 2 more
error    1 image cut off before the end: set aside in training; replace or remove
           train: cat/<cut>.jpg: cut off

warning  1 class without images: cannot be learnt; fill or remove
           owl

note     1 image in grey: three equal channels are made of one
           train: cat/grey.jpg

images by class
class  train  validation  cannot be read
owl        0           0               0
cat0   1,000           5               1

width    20 to 4,000 px, median 500
height   32 px
modes    RGB 1,004, L 1
formats  JPEG 1,005

It can be trained on; correct the errors first; every name: \
resnets data check '/my photos' --json"""


def test_the_text_has_the_worst_first_and_the_first_names_and_ends_with_what_to_do():
    made = report(LEAKED, CUT, EMPTY, GREY)
    assert str(made) == TEXT
    assert repr(made) == TEXT


@pytest.mark.parametrize(
    ("findings", "refusal", "begins"),
    [
        ((LEAKED, EMPTY), "nothing there", "It cannot be trained on: nothing there; every name: "),
        ((EMPTY, GREY), None, "It can be trained on; look at the warnings first; every name: "),
        ((GREY,), None, "Nothing is wrong with it; next: resnets train --data '/my photos'"),
        ((), None, "Nothing is wrong with it; next: resnets train --data '/my photos'"),
    ],
)
def test_the_last_line_says_what_to_do(findings, refusal, begins):
    made = report(*findings, refusal=refusal)
    assert made.next_step().startswith(begins)
    assert str(made).endswith("\n\n" + made.next_step())


def test_of_many_classes_the_smallest_and_the_largest_are_shown():
    text = str(report(classes=1000))
    assert "images by class, of 1,000 the smallest and the largest\n" in text
    shown = [line.split()[0] for line in text.splitlines() if line.startswith("cat")]
    assert shown == ["cat0", "cat1", "cat2", "cat3", "cat4", *(f"cat{i}" for i in range(994, 999))]


def test_of_one_case_three_images_are_shown_and_the_others_counted():
    case = Case(tuple(place(f"{i}") for i in range(9)))
    assert "train: 0 = train: 1 = train: 2 = 6 more\n" in str(report(found("repeated", case)))


def test_the_page_of_a_notebook_shows_the_same_and_no_name_is_taken_for_markup():
    made = report(LEAKED, CUT, EMPTY, GREY)
    page = made._repr_html_()
    assert "5 images in several splits" in page
    assert "cat/&lt;cut&gt;.jpg" in page
    assert "<cut>" not in page
    assert "validation: cat/v0.jpg" in page
    assert page.count("<table>") == page.count("</table>") == 2
    assert "correct the errors first" in page
    assert report()._repr_html_().count("<table>") == 1


JSON = {
    "data": "photos",
    "train_images": 1000,
    "validation_images": 5,
    "classes": 1,
    "unreadable_images": 1,
    "repeated_images": 10,
    "digest": "abc",
    "trainable": True,
    "refusal": None,
    "findings": [
        {
            "finding": "truncated",
            "severity": "error",
            "count": 1,
            "of": "image",
            "title": "cut off before the end",
            "advice": "set aside in training; replace or remove",
            "cases": [
                {
                    "images": [{"split": "train", "file": "cat/<cut>.jpg", "class": "cat"}],
                    "why": "cut off",
                }
            ],
        },
        {
            "finding": "empty-class",
            "severity": "warning",
            "count": 1,
            "of": "class",
            "title": "without images",
            "advice": "cannot be learnt; fill or remove",
            "cases": [{"class": "owl"}],
        },
    ],
    "by_class": [
        {"class": "owl", "train_images": 0, "validation_images": 0, "unreadable_images": 0},
        {"class": "cat0", "train_images": 1000, "validation_images": 5, "unreadable_images": 1},
    ],
    "sizes": {
        "width_px": {"min": 20, "median": 500, "max": 4000},
        "height_px": {"min": 32, "median": 32, "max": 32},
    },
    "modes": {"RGB": 1004, "L": 1},
    "formats": {"JPEG": 1005},
}


def test_json_has_everything_under_fixed_keys():
    made = report(CUT, EMPTY).to_dict()
    assert made == JSON
    assert json.loads(json.dumps(made)) == JSON
    assert len(report(LEAKED).to_dict()["findings"][0]["cases"]) == 5


def test_every_kind_has_a_name_of_its_own_and_they_stand_by_severity():
    assert len(BY_CODE) == len(KINDS)
    ranks = [("error", "warning", "note").index(kind.severity) for kind in KINDS]
    assert ranks == sorted(ranks)
