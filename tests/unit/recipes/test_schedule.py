from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnets.core.errors import RecipeError
from resnets.recipes.schedule import Cosine, Linear, Plateau, StepDecay


def test_step_decay_divides_at_its_milestones_and_nowhere_else():
    steps = StepDecay(milestones=(3, 5))
    found = [steps.scale(step, 8) for step in range(8)]
    assert found == [1, 1, 1, 0.1, 0.1, 0.1**2, 0.1**2, 0.1**2]


def test_step_decay_does_not_depend_on_the_length_of_the_run():
    steps = StepDecay(milestones=(3, 5))
    assert [steps.scale(step, 6) for step in range(6)] == [steps.scale(s, 999) for s in range(6)]


def test_step_decay_without_milestones_is_a_constant_rate():
    assert {StepDecay(milestones=()).scale(step, 10) for step in range(10)} == {1.0}


def test_a_constant_warm_up_comes_before_the_first_milestone():
    steps = StepDecay(milestones=(4,), factor=0.5, warmup_steps=2, warmup_factor=0.2)
    assert [steps.scale(step, 6) for step in range(6)] == [0.2, 0.2, 1, 1, 0.5, 0.5]


def test_a_warm_up_that_covers_a_milestone_ends_at_the_decayed_rate():
    steps = StepDecay(milestones=(1,), factor=0.5, warmup_steps=2, warmup_factor=0.2)
    assert [steps.scale(step, 4) for step in range(4)] == [0.2, 0.2, 0.5, 0.5]


def test_linear_rises_to_1_over_the_warm_up_and_falls_towards_0_at_the_end():
    linear = Linear(warmup_steps=4)
    found = [linear.scale(step, 10) for step in range(10)]
    assert found == pytest.approx(
        [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6], rel=1e-15
    )


@pytest.mark.parametrize("warmup_steps", [0, 1, 10, 99, 100, 150])
def test_linear_is_positive_peaks_once_and_never_exceeds_1(warmup_steps):
    linear = Linear(warmup_steps=warmup_steps)
    found = [linear.scale(step, 100) for step in range(100)]
    assert min(found) > 0
    assert max(found) <= 1
    rising = [after > before for before, after in pairwise(found)]
    assert rising == sorted(rising, reverse=True)
    assert sum(rising) == min(warmup_steps, 99)


def test_without_a_warm_up_linear_starts_at_1_and_ends_one_step_above_0():
    linear = Linear()
    assert linear.scale(0, 1000) == 1
    assert linear.scale(999, 1000) == 1 / 1000


def test_a_run_of_one_update_has_a_rate():
    for warmup_steps in (0, 1, 5):
        assert 0 < Linear(warmup_steps=warmup_steps).scale(0, 1) <= 1


@pytest.mark.parametrize("factor", [0.25, 0.5, 2, 10])
def test_a_stretched_schedule_has_the_same_shape(factor):
    steps = StepDecay(milestones=(320, 480), warmup_steps=40, warmup_factor=0.2)
    linear = Linear(warmup_steps=40)
    for step in range(0, 640, 20):
        then = (round(step * factor), round(640 * factor))
        assert steps.stretched(factor).scale(*then) == steps.scale(step, 640)
        # Linear never starts at 0: its first rate is one part of the warm-up.
        one_part = max(1 / 41, 1 / (40 * factor + 1))
        found = linear.stretched(factor).scale(*then)
        assert found == pytest.approx(linear.scale(step, 640), abs=one_part)


def test_stretching_rounds_to_whole_updates():
    steps = StepDecay(milestones=(32_000, 48_000), warmup_steps=400).stretched(391 / 64_000)
    assert steps == StepDecay(milestones=(196, 293), warmup_steps=2)
    assert Linear(warmup_steps=150).stretched(0.01) == Linear(warmup_steps=2)


def test_stretching_keeps_what_is_no_length():
    steps = StepDecay(milestones=(10,), factor=0.3, warmup_steps=2, warmup_factor=0.7)
    assert steps.stretched(3) == StepDecay(
        milestones=(30,), factor=0.3, warmup_steps=6, warmup_factor=0.7
    )


@pytest.mark.parametrize("milestones", [(5, 3), (1, 3, 2), (-1, 5), (-5,)])
def test_milestones_that_fall_or_lie_before_the_run_are_refused(milestones):
    with pytest.raises(RecipeError, match=r"schedule\.milestones: must increase from 0 up, got \("):
        StepDecay(milestones=milestones)


def test_a_negative_warm_up_is_refused():
    for made in (Linear, lambda **given: StepDecay(milestones=(), **given)):
        with pytest.raises(RecipeError, match=r"warmup_steps: must not be negative, got -1"):
            made(warmup_steps=-1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("factor", float("nan")),
        ("factor", float("inf")),
        ("factor", -0.1),
        ("factor", 0.0),
        ("warmup_factor", float("nan")),
        ("warmup_factor", -1.0),
    ],
)
def test_step_decay_refuses_numbers_that_make_no_rate(field, value):
    with pytest.raises(RecipeError, match=rf"^schedule\.{field}: must be positive, got {value}$"):
        StepDecay(**({"milestones": (5,)} | {field: value}))


def test_milestones_that_fall_together_when_a_schedule_is_shrunk_both_count():
    assert StepDecay(milestones=(10, 11)).stretched(0.1) == StepDecay(milestones=(1, 1))
    assert StepDecay(milestones=(1, 1)).scale(0, 2) == 1
    assert StepDecay(milestones=(1, 1)).scale(1, 2) == 0.1**2


plateau = Plateau(every_steps=2, patience=2, min_improvement_percent=1.0, factor=0.1)


def scales(errors, schedule=plateau):
    """What the rate is multiplied by before the first evaluation and after each."""
    return [schedule.scale_after(errors[:seen]) for seen in range(len(errors) + 1)]


def test_a_plateau_drops_the_rate_after_so_many_evaluations_that_did_not_improve():
    assert scales([90, 80, 80, 80, 80]) == [1, 1, 1, 1, 0.1, 0.1]
    assert scales([90, 80, 80, 80, 80, 80]) == [1, 1, 1, 1, 0.1, 0.1, 0.1**2]
    assert scales([90, 80, 80, 70, 70, 60, 60]) == [1] * 8


def test_improving_by_no_more_than_the_least_improvement_is_a_plateau():
    assert scales([90, 89, 88.5])[-1] == 1  # 88.5 is more than a point below 90
    assert scales([90, 89, 89]) == [1, 1, 1, 0.1]
    assert scales([90, 89.5, 88.9, 88, 87.8]) == [1, 1, 1, 1, 1, 1]
    assert scales([90, 91, 89.5]) == [1, 1, 1, 0.1]


def test_after_a_drop_the_lowest_error_stays_the_one_to_improve_on():
    assert scales([80, 85, 85, 82, 81])[-2:] == [0.1, 0.1**2]
    assert scales([80, 85, 85, 82, 70, 70])[-3:] == [0.1, 0.1, 0.1]


errors_percent = st.lists(st.floats(0, 100), max_size=40)


@given(errors_percent, st.integers(1, 6))
def test_the_rate_of_a_plateau_never_rises_and_falls_at_most_once_in_its_patience(errors, patience):
    found = scales(errors, Plateau(patience=patience))
    assert all(after in (before, pytest.approx(0.1 * before)) for before, after in pairwise(found))
    drops = [i for i, (before, after) in enumerate(pairwise(found)) if after < before]
    assert all(later - sooner >= patience for sooner, later in pairwise(drops))


@given(errors_percent)
def test_an_error_that_falls_all_the_time_never_drops_the_rate(errors):
    falling = [100 - 2.5 * i for i in range(len(errors))]
    assert set(scales(falling)) == {1.0}


def test_a_stretched_plateau_is_evaluated_as_many_times():
    assert Plateau(every_steps=5_000).stretched(0.1) == Plateau(every_steps=500)
    assert Plateau(every_steps=5_000).stretched(1e-9) == Plateau(every_steps=1)


@pytest.mark.parametrize(
    ("field", "value", "accepted"),
    [
        ("every_steps", 0, "must be positive"),
        ("patience", 0, "must be positive"),
        ("min_improvement_percent", -0.1, "must be from 0 to below 100"),
        ("min_improvement_percent", float("nan"), "must be from 0 to below 100"),
        ("factor", 1.0, "must be between 0 and 1"),
        ("factor", 0.0, "must be between 0 and 1"),
    ],
)
def test_a_plateau_refuses_numbers_that_make_none(field, value, accepted):
    with pytest.raises(RecipeError, match=rf"^schedule\.{field}: {accepted}, got {value}$"):
        Plateau(**{field: value})


def test_a_linear_warm_up_rises_from_its_factor_to_1_and_then_the_steps_count():
    steps = StepDecay(milestones=(6,), warmup="linear", warmup_steps=4, warmup_factor=0.2)
    found = [steps.scale(step, 8) for step in range(8)]
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 0.1, 0.1], rel=1e-15)


def test_cosine_rises_over_the_warm_up_and_falls_along_half_a_cosine():
    cosine = Cosine(warmup_steps=2, warmup_factor=0.5)
    found = [cosine.scale(step, 6) for step in range(6)]
    expected = [0.5, 0.75, 1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]
    assert found == pytest.approx(expected, rel=1e-12)


def test_cosine_falls_to_its_floor_and_not_below():
    cosine = Cosine(floor=0.2)
    assert cosine.scale(0, 1000) == 1
    assert cosine.scale(500, 1000) == pytest.approx(0.6)
    assert cosine.scale(999, 1000) == pytest.approx(0.2, abs=1e-5)
    assert cosine.scale(1000, 1000) == 0.2


@given(st.integers(0, 120), st.floats(0.001, 0.9), st.floats(0, 0.9))
def test_cosine_is_positive_and_rises_and_then_falls(warmup_steps, first, floor):
    cosine = Cosine(warmup_steps=warmup_steps, warmup_factor=first, floor=floor)
    found = [cosine.scale(step, 100) for step in range(100)]
    assert min(found) > 0
    assert max(found) <= 1
    rising = [after > before for before, after in pairwise(found)]
    assert rising == sorted(rising, reverse=True)


@pytest.mark.parametrize("factor", [0.25, 2, 10])
def test_a_stretched_cosine_has_the_same_shape(factor):
    cosine = Cosine(warmup_steps=40, warmup_factor=0.2, floor=0.1)
    for step in range(0, 640, 20):
        then = (round(step * factor), round(640 * factor))
        found = cosine.stretched(factor).scale(*then)
        assert found == pytest.approx(cosine.scale(step, 640), rel=1e-12)


def test_every_schedule_can_have_a_run_of_one_update():
    for schedule in (Cosine(), Cosine(warmup_steps=5), Linear(), StepDecay(milestones=())):
        assert 0 < schedule.scale(0, 1) <= 1


def test_the_warm_up_of_a_plateau_multiplies_its_rate():
    warmed = Plateau(warmup_steps=4, warmup_factor=0.2)
    found = [warmed.warm_up(step) for step in range(6)]
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1], rel=1e-15)
    assert {Plateau().warm_up(step) for step in range(3)} == {1}
    assert warmed.stretched(2).warmup_steps == 8


@pytest.mark.parametrize(
    "made", [Cosine, Plateau, lambda **given: StepDecay(milestones=(), **given)]
)
def test_a_warm_up_that_makes_no_rate_is_refused(made):
    with pytest.raises(
        RecipeError, match=r"^schedule\.warmup_steps: must not be negative, got -1$"
    ):
        made(warmup_steps=-1)
    for factor in (0.0, -0.1, float("nan"), float("inf")):
        with pytest.raises(RecipeError, match=r"^schedule\.warmup_factor: must be positive, got"):
            made(warmup_factor=factor)


@pytest.mark.parametrize("floor", [-0.1, 1.0, float("nan")])
def test_a_floor_that_is_none_is_refused(floor):
    with pytest.raises(RecipeError, match=r"^schedule\.floor: must be in \[0, 1\), got"):
        Cosine(floor=floor)
