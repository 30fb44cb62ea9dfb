import numpy as np
import pytest

from resnets.data import operations
from resnets.data.operations import Operation


def ramp():
    """Every level from 0 to 255 once in each channel."""
    return np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)


def after(name, amount=0.0, pixels=None, **how):
    return operations.apply(ramp() if pixels is None else pixels, (Operation(name, amount, **how),))


def test_nothing_is_copied_where_nothing_is_done():
    pixels = ramp()
    assert operations.apply(pixels, ()) is pixels


@pytest.mark.parametrize(
    ("name", "amount", "level_after"),
    [
        ("invert", 0, lambda level: 255 - level),
        ("solarize", 100, lambda level: level if level < 100 else 255 - level),
        ("solarize", 256, lambda level: level),
        ("solarize-add", 110, lambda level: level + 110 if level < 128 else level),
        ("posterize", 1, lambda level: level & 128),
        ("posterize", 8, lambda level: level),
        ("posterize", 0, lambda level: 0),
        ("brightness", 0, lambda level: 0),
        ("brightness", 0.5, lambda level: level // 2),
        ("brightness", 1, lambda level: level),
        ("brightness", 1.5, lambda level: min(255, level * 3 // 2)),
        ("contrast", 0, lambda level: 128),
        ("colour", 0, lambda level: level),  # grey has none to lose
        ("equalize", 0, lambda level: level),
    ],
)
def test_a_tone_is_a_table_of_levels(name, amount, level_after):
    expected = [level_after(level) for level in range(256)]
    assert after(name, amount)[:, :, 1].reshape(-1).tolist() == expected


def test_autocontrast_stretches_each_channel_to_black_and_white():
    pixels = (ramp() // [2, 4, 8] + [50, 60, 70]).astype(np.uint8)
    found = after("autocontrast", pixels=pixels)
    assert (found.min((0, 1)) == 0).all()
    assert (found.max((0, 1)) == 255).all()


def test_without_colour_the_channels_are_equal_and_without_sharpness_neighbours_are_closer():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    grey = after("colour", 0.0, pixels)
    assert (grey == grey[:, :, :1]).all()
    rough = [np.abs(np.diff(after("sharpness", factor, pixels).astype(int), axis=0)).mean()
             for factor in (0, 1, 1.9)]  # fmt: skip
    assert rough[0] < rough[1] < rough[2]


FILL = (1, 2, 3)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_translating_by_whole_pixels_moves_them_to_the_right_and_down(interpolation):
    how = {"interpolation": interpolation, "fill_rgb": FILL}
    right = after("translate-x", 3, **how)
    assert np.array_equal(right[:, 3:], ramp()[:, :-3])
    assert (right[:, :3] == FILL).all()
    up = after("translate-y", -5, **how)
    assert np.array_equal(up[:-5], ramp()[5:])
    assert (up[-5:] == FILL).all()


def test_a_quarter_turn_is_counterclockwise():
    assert np.array_equal(after("rotate", 90), np.rot90(ramp()))


def test_shearing_moves_each_row_to_the_left_and_each_column_up_the_more_the_further_it_is():
    how = {"interpolation": "nearest", "fill_rgb": FILL}
    sheared = after("shear-x", 1, **how)
    for row in (0, 1, 7, 15):
        # The middle of a row is half a pixel into it, and a half is taken for the next pixel.
        moved = row + 1
        assert np.array_equal(sheared[row, : 16 - moved], ramp()[row, moved:])
        assert (sheared[row, 16 - moved :] == FILL).all()
    turned = after("shear-y", 1, pixels=ramp().swapaxes(0, 1), **how)
    assert np.array_equal(turned, sheared.swapaxes(0, 1))


def test_operations_follow_one_another():
    both = operations.apply(ramp(), (Operation("invert"), Operation("translate-x", 2)))
    assert (both[:, :2] == 0).all()
    assert np.array_equal(both[:, 2:], 255 - ramp()[:, :-2])


def test_a_view_that_was_flipped_or_may_not_be_written_is_taken_too():
    flipped = ramp()[:, ::-1]
    flipped.flags.writeable = False
    assert np.array_equal(after("invert", pixels=flipped), 255 - flipped)
