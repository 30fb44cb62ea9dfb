import pytest

from resnets.core.errors import DataError
from resnets.data import splits


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("train-000000.tar", "train"),
        ("imagenet-train-000000.tar", "train"),
        ("imagenet1k_validation_07.tar", "validation"),
        ("VAL.tar", "val"),
        ("train-00000-of-00042.parquet", "train"),
        ("photos-test-00000-of-00042.parquet", "test"),
        ("train_small-00000-of-00042.parquet", None),
        ("train-extra-00000-of-00042.parquet", None),
        ("training-000.tar", None),
        ("trainval.tar", None),
        ("train-val-0.tar", None),
        ("0000.parquet", None),
    ],
)
def test_a_files_name_tells_its_split(name, word):
    assert splits.word_in(name) == word


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder):
    return {
        split: [path.relative_to(folder).as_posix() for path in paths]
        for split, paths in splits.files_in(folder, ".tar").items()
    }


def test_files_stand_in_the_folder_in_data_or_in_folders_for_splits(tmp_path):
    put(tmp_path, "train-1.tar", "train-0.TAR", "a.txt", ".train-2.tar", "other/train-3.tar")
    put(tmp_path, "data/val/x.tar", "data/train-9.tar", "data/val/.y.tar", "data/val/z.txt")
    assert found(tmp_path) == {
        "train": ["train-0.TAR", "train-1.tar", "data/train-9.tar"],
        "validation": ["data/val/x.tar"],
    }


def test_a_test_split_counts_where_there_is_no_other_to_measure_on(tmp_path):
    put(tmp_path, "train-0.tar", "test-0.tar")
    assert found(tmp_path) == {"train": ["train-0.tar"], "validation": ["test-0.tar"]}
    put(tmp_path, "validation-0.tar")
    assert found(tmp_path)["validation"] == ["validation-0.tar"]
    put(tmp_path, "val-0.tar")
    with pytest.raises(DataError, match="both validation and val are here; leave one"):
        found(tmp_path)


def test_files_that_tell_no_split_are_one_split_by_themselves_and_an_error_beside_others(tmp_path):
    put(tmp_path, "a.tar", "b.tar")
    assert found(tmp_path) == {"validation": ["a.tar", "b.tar"]}
    put(tmp_path, "train/c.tar")
    assert found(tmp_path / "train") == {"train": ["c.tar"]}
    with pytest.raises(DataError, match=r"a\.tar: its name tells no split \(train, validation, "):
        found(tmp_path)


def test_where_there_are_none_there_is_no_split(tmp_path):
    put(tmp_path, "a.txt", "data", "val")
    assert found(tmp_path) == {}


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (["val2017", "train2017"], ["train", "validation"]),
        (["test-dev2017", "Valid", "TRAIN"], ["train", "validation", "test-dev"]),
        (["val2017", "train2014", "val2014"], ["2014/train", "2014/validation", "2017/validation"]),
        (["extra", "train2012", "val2007"], ["extra", "2007/validation", "2012/train"]),
        (["default"], ["validation"]),
        (["b", "a"], ["a", "b"]),
        (["2017"], ["validation"]),
        ([], []),
    ],
)
def test_splits_for_detection_are_named_by_year_and_train_comes_first(tmp_path, names, called):
    assert list(splits.by_year(tmp_path, dict.fromkeys(names))) == called


def test_a_lone_split_without_a_word_is_train_where_the_folder_is(tmp_path):
    assert list(splits.by_year(tmp_path / "train", {"all": 0})) == ["train"]


def test_two_names_of_one_split_are_refused(tmp_path):
    with pytest.raises(DataError, match="two splits would be called 'validation'; rename one"):
        splits.by_year(tmp_path, {"val": 0, "valid": 1})
    with pytest.raises(DataError, match="two splits would be called 'train'"):
        splits.by_year(tmp_path, {"train": 0, "train2012": 1})
