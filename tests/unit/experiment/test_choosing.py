import math

import torch
from torch import nn

from resnets.experiment import choosing
from resnets.experiment.choosing import Best

ERROR = "test_top1_error_percent"


def network(value):
    made = nn.Linear(1, 1)
    nn.init.constant_(made.weight, value)
    return made


def offered(errors):
    best = Best()
    for update, error in enumerate(errors, start=1):
        best.offer(network(update), update, error)
    return best


def test_the_network_of_the_least_error_is_kept_and_of_equals_the_latest():
    best = offered([50.0, 20.0, 30.0, 20.0, 40.0])
    assert (best.error_percent, best.update, best.waited) == (20.0, 4, 3)
    assert best.tensors["weight"].item() == 4


def test_what_is_kept_is_a_copy_that_later_training_does_not_touch():
    best, made = Best(), network(1.0)
    best.offer(made, 1, 10.0)
    nn.init.zeros_(made.weight)
    assert best.tensors["weight"].item() == 1


def test_a_better_one_ends_the_waiting():
    assert offered([50.0, 60.0, 60.0]).waited == 2
    assert offered([50.0, 60.0, 60.0, 40.0]).waited == 0


def test_an_error_that_is_no_number_is_never_the_best():
    best = offered([math.nan, 90.0, math.nan])
    assert (best.error_percent, best.update, best.waited) == (90.0, 2, 1)
    none = offered([math.nan, math.inf])
    assert (none.error_percent, none.tensors, none.waited) == (math.inf, {}, 2)


def test_it_comes_back_from_what_was_saved_of_it():
    best = offered([50.0, 20.0, 30.0])
    back = Best.restored(best.about(), best.tensors)
    assert (back.error_percent, back.update, back.waited) == (20.0, 2, 1)
    assert torch.equal(back.tensors["weight"], best.tensors["weight"])
    none_yet = Best.restored(Best().about(), {})
    assert none_yet == Best()


def test_the_record_of_the_best_network_is_found_in_a_journal():
    records = [
        {"update": 1, "loss": 2.0},
        {"update": 2, ERROR: 30.0},
        {"update": 3, ERROR: "nan"},
        {"update": 4, ERROR: 10.0},
        {"update": 5, ERROR: 10.0},
    ]
    assert choosing.best_record(records) == records[4]
    assert choosing.best_record(records[:1]) == records[0]
