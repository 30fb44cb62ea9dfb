import pytest

from resnets.core import errors

KNOWN = ("resnet18", "resnet34", "resnet50", "plain18")


def test_an_unknown_name_is_answered_with_the_nearest_and_the_command_that_lists_all():
    message = errors.unknown("model", "resnet5O", KNOWN, "resnets list models")
    assert message.startswith("model 'resnet5O': there is none of that name; did you mean resnet50")
    assert message.endswith("`resnets list models` lists them")
    assert "\n" not in message


def test_the_nearest_name_comes_first_and_there_are_at_most_three():
    message = errors.unknown("model", "resnet34x", KNOWN, "resnets list models")
    suggested = message.split("did you mean ")[1].split("? ")[0].split(" or ")
    assert suggested[0] == "resnet34"
    assert 1 < len(suggested) <= 3


@pytest.mark.parametrize("name", ["", "zzz", "mobilenet_v3"])
def test_where_nothing_is_near_nothing_is_suggested(name):
    message = errors.unknown("recipe", name, ("cifar10.plain",), "resnets list recipes")
    assert message == (
        f"recipe {name!r}: there is none of that name; `resnets list recipes` lists them"
    )


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.RecipeError, 2),
        (errors.ModelError, 2),
        (errors.DataError, 2),
        (errors.ImageError, 2),
        (errors.CheckpointError, 2),
        (errors.RunError, 2),
        (errors.StorageError, 2),
        (errors.FetchError, 1),
        (errors.DivergedError, 1),
    ],
)
def test_a_wrong_request_exits_with_2_and_failed_work_with_1(kind, status):
    with pytest.raises(errors.ResNetsError) as caught:
        raise kind("field: what is accepted, got what")
    assert caught.value.exit_status == status
    assert str(caught.value) == "field: what is accepted, got what"


def test_every_error_of_the_package_has_its_exit_status_tested_above():
    kinds = {value for value in vars(errors).values() if isinstance(value, type)}
    assert len(kinds) == 1 + 9
    assert all(issubclass(kind, errors.ResNetsError) for kind in kinds)


def test_an_image_error_is_a_data_error():
    assert issubclass(errors.ImageError, errors.DataError)
