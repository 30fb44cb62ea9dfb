import pytest

from resnets.core.errors import DataError
from resnets.data import opening


@pytest.mark.parametrize("name", ["cifar10-sample", "synthetic"])
def test_a_data_set_opens_by_its_name_and_says_it(name):
    opened = opening.open_data(name)
    assert opened.name == opened.where == name
    assert name in opening.NAMES


@pytest.mark.parametrize(
    ("name", "nearest"), [("cifar-10", "cifar10"), ("cifar10_sample", "cifar10-sample")]
)
def test_an_unknown_name_is_refused_suggesting_the_nearest(name, nearest):
    with pytest.raises(DataError) as caught:
        opening.open_data(name)
    message = str(caught.value)
    assert repr(name) in message
    assert nearest in message.split("did you mean ")[1].split("? ")[0].split(" or ")
    assert "resnets data list" in message
    assert "\n" not in message


def test_a_folder_that_is_not_there_is_refused_naming_it(tmp_path):
    with pytest.raises(DataError, match=r"none of that name.*nor is there a folder"):
        opening.open_data(tmp_path / "photos")


def test_a_file_in_the_place_of_a_folder_is_refused_saying_what_is_taken(tmp_path):
    file = tmp_path / "cat.jpg"
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r"cat\.jpg: a file; --data takes a folder or one of "):
        opening.open_data(str(file))


def test_a_folder_without_images_of_cifar10_is_refused_saying_how_to_get_them(tmp_path):
    with pytest.raises(DataError, match=r"resnets data fetch cifar10"):
        opening.open_data(tmp_path)


def test_a_tilde_means_the_home_folder(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with pytest.raises(DataError, match="no data set is recognised") as caught:
        opening.open_data("~/data")
    assert str(caught.value).startswith(str(tmp_path / "data"))
