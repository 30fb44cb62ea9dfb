import signal

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


STATUS = (
    (errors.RecipeError, 2),
    (errors.ModelError, 2),
    (errors.DataError, 2),
    (errors.ImageError, 2),
    (errors.CheckpointError, 2),
    (errors.NewerFormatError, 2),
    (errors.RunError, 2),
    (errors.BusyError, 2),
    (errors.StorageError, 2),
    (errors.FetchError, 1),
    (errors.LostProcessError, 1),
    (errors.DivergedError, 1),
)


@pytest.mark.parametrize(("kind", "status"), STATUS)
def test_a_wrong_request_exits_with_2_and_failed_work_with_1(kind, status):
    with pytest.raises(errors.ResNetsError) as caught:
        raise kind("field: what is accepted, got what")
    assert caught.value.exit_status == status
    assert str(caught.value) == "field: what is accepted, got what"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_exits_as_the_shell_does(number):
    err = errors.InterruptedRunError("saved", int(number))
    assert (str(err), err.exit_status) == ("saved", 128 + number)
    assert isinstance(err, errors.ResNetsError)
    assert errors.ResNetsError.exit_status == 2


def test_every_error_of_the_package_has_its_exit_status_tested_above():
    names = {name for name in vars(errors) if name.endswith("Error")}
    tested = {kind.__name__ for kind, _ in STATUS} | {"ResNetsError", "InterruptedRunError"}
    assert names == tested


def test_an_image_error_is_a_data_error():
    assert issubclass(errors.ImageError, errors.DataError)
