import pytest
from PIL import Image

from resnets.core.errors import DataError
from resnets.data import imagenet_classes, labels, opening
from resnets.data.files import FileData


def write(folder, table, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (len(name), 0, 0)).save(folder / name, "PNG")
    (folder / "labels.csv").write_text(table, newline="")
    return folder


def refused(folder):
    with pytest.raises(DataError) as caught:
        opening.open_data(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert "labels.csv" in message
    return message


def test_a_listed_folder_is_one_validation_split(tmp_path):
    write(tmp_path, "file,class_index\nb.png,7\na.png,0\n", "a.png", "b.png", "not-listed.png")
    data = opening.open_data(tmp_path)
    assert isinstance(data, FileData)
    assert (data.name, data.where, data.classes) == (tmp_path.name, str(tmp_path), None)
    assert list(data.splits) == ["validation"]
    split = data.splits["validation"]
    assert split.names == ("b.png", "a.png")
    assert split.labels_n.tolist() == [7, 0]
    assert split.read(0) == (tmp_path / "b.png").read_bytes()
    assert data.digest == opening.open_data(str(tmp_path)).digest


def test_files_may_stand_in_images_and_below(tmp_path):
    table = "file,class_index\r\na.png,1\r\nx/b.png,2\r\n"
    write(tmp_path, table, "images/a.png", "images/x/b.png")
    split = opening.open_data(tmp_path).splits["validation"]
    assert split.read(1) == (tmp_path / "images/x/b.png").read_bytes()


def test_a_table_from_a_spreadsheet_is_read(tmp_path):
    write(tmp_path, '\ufefffile, class_index\n"a, b.png", 3\n\n', "a, b.png")
    split = opening.open_data(tmp_path).splits["validation"]
    assert (split.names, split.labels_n.tolist()) == (("a, b.png",), [3])


def test_wordnet_ids_become_imagenets_labels(tmp_path):
    write(tmp_path, "file,class\na.png,n02119789\nb.png,n01440764\n", "a.png", "b.png")
    data = opening.open_data(tmp_path)
    assert data.splits["validation"].labels_n.tolist() == [278, 0]
    assert data.classes == imagenet_classes.names()


def test_other_names_are_numbered_in_their_order(tmp_path):
    write(tmp_path, "file,class\na.png,dog\nb.png,cat\nc.png,dog\n", "a.png", "b.png", "c.png")
    data = opening.open_data(tmp_path)
    assert data.classes == ("cat", "dog")
    assert data.splits["validation"].labels_n.tolist() == [1, 0, 1]


def test_a_column_may_tell_the_split_and_columns_have_any_order(tmp_path):
    table = "split,class,file\nval,dog,c.png\ntrain,cat,a.png\n Train ,dog,b.png\ntest,ant,d.png\n"
    data = opening.open_data(write(tmp_path, table, "a.png", "b.png", "c.png", "d.png"))
    assert data.classes == ("ant", "cat", "dog")
    assert list(data.splits) == ["train", "validation"]
    train, validation = data.splits.values()
    assert (train.names, train.labels_n.tolist()) == (("a.png", "b.png"), [1, 2])
    assert (validation.names, validation.labels_n.tolist()) == (("c.png",), [2])
    assert train.read(1) == (tmp_path / "b.png").read_bytes()
    table = "class_index,file,split\n7,a.png,test\n0,b.png,test\n"
    data = opening.open_data(write(tmp_path, table))
    assert data.classes is None
    assert data.splits["validation"].labels_n.tolist() == [7, 0]
    refused_table = "file,class,split\na.png,cat,val\nb.png,cat,validation\n"
    assert "both validation and val are here" in refused(write(tmp_path, refused_table))
    data = opening.open_data(write(tmp_path, "file,class,split\na.png,cat,train\n"))
    assert list(data.splits) == ["train"]


def test_missing_files_are_named_and_counted(tmp_path):
    write(tmp_path, "file,class_index\na.png,1\nb.png,2\nx/c.png,3\n", "a.png")
    assert "b.png and 1 more of its files are missing" in refused(tmp_path)
    write(tmp_path, "file,class_index\na.png,1\nb.png,2\n")
    assert "b.png is missing" in refused(tmp_path)
    (tmp_path / "b.png").mkdir()
    assert "b.png is missing" in refused(tmp_path)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("", "first line must be file,class_index"),
        ("a.png,1\n", "first line must be"),
        ("file,label\na.png,1\n", "it is 'file,label'"),
        ("file,class_index,extra\na.png,1,2\n", "first line must be"),
        ("file,class_index\n", "lists no files"),
        ("file,class_index\na.png\n", "line 2: expected file,class_index"),
        ("file,class_index\na.png,1\na.png,2,3\n", "line 3"),
        ("file,class_index\n,1\n", "line 2"),
        ("file,class_index\na.png,1\n./a.png,1\n", "lines 2 and 3 both list a.png"),
        ("file,class_index\na.png,-1\n", "a.png: class_index must be a whole number from 0"),
        ("file,class_index\na.png,1.0\n", "got '1.0'"),
        ("file,class_index\na.png,one\n", "got 'one'"),
        ("file,class_index\na.png,1_0\n", "got '1_0'"),
        ("file,class_index\na.png,\u0663\n", "a whole number"),
        ("file,class_index\na.png," + "9" * 5000 + "\n", "a whole number"),
        ('file,class_index\n"a.png,1\n', "not a table"),
        ("file,file\n", "it is 'file,file'"),
        ("file,class,class_index\n", "first line must be"),
        ("file,split\n", "with ,split where wanted; it is 'file,split'"),
        ("file,class,split,split\n", "first line must be"),
        ("file,class\na.png,cat\nb.png, \n", "line 3: expected file,class"),
        ("file,class,split\na.png,cat\n", "line 2: expected file,class,split"),
        ("file,class,split\na.png,cat,dev\n", "line 2: a.png: split must be one of train, valid"),
        ("file,class,split\na.png,cat,val\na.png,cat,train\n", "lines 2 and 3 both list a.png"),
        ("file,class_index\na.png,1\nb.png,1000000\n", "line 3: b.png: class_index must be"),
        ('file,class_index\n"a\nb.png",1\nb.png,x\n', "line 4: b.png"),
        ("file,class_index\n../a.png,1\n", "'../a.png' leads out of the folder"),
        ("file,class_index\nx/../../a.png,1\n", "leads out of the folder"),
        ("file,class_index\n/etc/passwd,1\n", "leads out of the folder"),
        ("file,class_index\nC:/a.png,1\n", "leads out of the folder"),
        ("file,class_index\n..\\a.png,1\n", "leads out of the folder"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, table, says):
    assert says in refused(write(tmp_path, table, "a.png"))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", bytes(range(256)), b"file,class\n\0,\0\n"])
def test_bytes_that_are_no_table_are_refused(tmp_path, content):
    (tmp_path / "labels.csv").write_bytes(content)
    refused(tmp_path)


def test_a_file_that_goes_away_is_named(tmp_path):
    split = labels.read(write(tmp_path, "file,class_index\na.png,1\n", "a.png")).splits[
        "validation"
    ]
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png: cannot be read \(No such file"):
        split.read(0)
