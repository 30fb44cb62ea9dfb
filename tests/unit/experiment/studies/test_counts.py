import pytest

from resnets.experiment.studies import counts
from resnets.experiment.studies.study import Setting


def found(study):
    return study.find(Setting(quick=False, trained=(), data=None, device=None))


@pytest.mark.parametrize(("study", "rows"), [(counts.TABLE_1, 7), (counts.PARAMETERS, 11)])
def test_every_printed_count_is_ours(study, rows):
    made = found(study)
    assert len(made.rows) == rows
    assert [row["network"] for row in made.rows if row["agrees"] != "yes"] == []
    assert f"{rows} of {rows}" in made.says


def test_table_1_has_its_sizes_and_blocks():
    by_name = {row["network"]: row for row in found(counts.TABLE_1).rows}
    assert by_name["resnet152"]["sizes"] == "56 28 14 7"
    assert by_name["resnet152"]["blocks"] == "3 8 36 3"
    assert by_name["resnet152"]["layers"] == 152


@pytest.mark.parametrize(
    ("claimed", "value", "agrees"),
    [
        ("3.8", 3.858, True),  # cut off
        ("3.8", 3.76, True),  # rounded
        ("3.8", 3.9, False),
        ("3.8", 3.74, False),
        ("0.27", 0.2697, True),
        ("19.4", 19.421, True),
    ],
)
def test_a_printed_number_agrees_rounded_or_cut_off(claimed, value, agrees):
    assert counts._agrees(claimed, value) == agrees
