import pytest

from resnets.core.errors import DataError
from resnets.data import plain_yaml


def read(text, *wanted):
    return plain_yaml.read(text, wanted or ("a",), "data.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: word", "word"),
        ("a: two words  # and a remark", "two words"),
        ("a: 'it''s'", "it's"),
        ('a: "x # y"', "x # y"),
        ("a: don't # do", "don't"),
        ("a: x#y", "x#y"),
        ("a: 80", "80"),
        ("a:", None),
        ("a: ~", None),
        ("a: [x, 'y, z', \"w\",]", ["x", "y, z", "w"]),
        ("a: []", []),
        ("a: [x,\n  # remark\n  y\n]", ["x", "y"]),
        ("a:\n  - x\n  - y z", ["x", "y z"]),
        ("a:\n- x\n- 'y'", ["x", "y"]),
        ("a:\n  0: x\n  1: 'y'", {"0": "x", "1": "y"}),
        ("a: {0: x, 1: y}", {"0": "x", "1": "y"}),
        ("---\na: x\n", "x"),
    ],
)
def test_what_people_write_is_read(text, value):
    assert read(text) == {"a": value}


def test_other_keys_are_skipped_whatever_they_hold():
    text = (
        "b: !!python/object:os.system\na: x\ndownload: |\n  import os\n  os.system('rm')\nc: &d\n"
    )
    assert read(text, "a", "e") == {"a": "x"}


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [x]",
        "a: *b",
        "a: |\n  x",
        "a: >-\n  x",
        "a: x\n  y",
        "a: [x, [y]]",
        "a: [x",
        "a: {x}",
        "a: {x: 1, x: 2}",
        "a:\n  - x\n    - y",
        "a:\n  x: 1\n  - y",
        "a:\n  - x: 1",
        'a: "x\\n"',
        "a: 'x",
        "a: x: y",
        "words alone",
        "\ta: x",
    ],
)
def test_the_rest_of_yaml_is_refused_in_one_line(text):
    with pytest.raises(DataError, match=r"^data\.yaml: line 1: ") as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_a_key_that_is_there_twice_is_refused():
    with pytest.raises(DataError, match=r"^data\.yaml: line 2: a: is there twice; leave one$"):
        read("a: x\na: y")
