"""Policies against torchvision's and timm's on Pillow images: the same pixels, bit for bit."""

import random as python_random
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import auto_augment
from torchvision.transforms import InterpolationMode, autoaugment

from resnets.data import operations, policies
from resnets.data.operations import Operation
from resnets.data.policies import RandAugment, TrivialAugment

SIDE = 40
GREY = (124, 116, 104)
TORCHVISION = {
    "ShearX": "shear-x",
    "ShearY": "shear-y",
    "TranslateX": "translate-x",
    "TranslateY": "translate-y",
    "Rotate": "rotate",
    "Brightness": "brightness",
    "Color": "colour",
    "Contrast": "contrast",
    "Sharpness": "sharpness",
    "Posterize": "posterize",
    "Solarize": "solarize",
    "AutoContrast": "autocontrast",
    "Equalize": "equalize",
}
TIMM = {
    "AutoContrast": "autocontrast",
    "Equalize": "equalize",
    "Invert": "invert",
    "Rotate": "rotate",
    "PosterizeIncreasing": "posterize",
    "SolarizeIncreasing": "solarize",
    "SolarizeAdd": "solarize-add",
    "ColorIncreasing": "colour",
    "ContrastIncreasing": "contrast",
    "BrightnessIncreasing": "brightness",
    "SharpnessIncreasing": "sharpness",
    "ShearX": "shear-x",
    "ShearY": "shear-y",
    "TranslateXRel": "translate-x",
    "TranslateYRel": "translate-y",
}


def scene(width=SIDE, height=SIDE, seed=0):
    """Smooth shades under noise, neither black nor white: every operation has work to do."""
    rows, columns = np.mgrid[:height, :width] / max(width, height)
    shades = 20 + 190 * np.stack([rows, columns, (rows + columns) / 2], axis=2)
    noise = np.random.default_rng(seed).integers(0, 40, shades.shape)
    return (shades + noise).astype(np.uint8)


def chosen(policy, images):
    """All operations that a policy chooses for so many images, by name."""
    found = defaultdict(set)
    for row in policies.choose(policy, 0, 0, np.arange(images), image_px=SIDE):
        for operation in row:
            found[operation.name].add(operation)
    return found


def pictures(operations_of_one_name):
    pixels = scene()
    return {operations.apply(pixels, (each,)).tobytes() for each in operations_of_one_name}


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_trivial_augment_makes_the_pictures_that_torchvisions_makes(name, interpolation):
    judge = autoaugment.TrivialAugmentWide()
    space = judge._augmentation_space(31)
    assert set(space) == {*TORCHVISION, "Identity"}
    magnitudes, signed = space[name]
    judged = {
        np.asarray(
            autoaugment._apply_op(
                Image.fromarray(scene()),
                name,
                sign * magnitude,
                InterpolationMode(interpolation),
                None,
            )
        ).tobytes()
        for magnitude in magnitudes.reshape(-1).tolist()
        for sign in ((1, -1) if signed else (1,))
    }
    # So many that each of 14 x 31 x 2 choices is among them.
    policy = TrivialAugment(interpolation=interpolation)
    assert pictures(chosen(policy, 12_000)[TORCHVISION[name]]) == judged


@pytest.mark.parametrize("magnitude", [0, 1, 9, 14, 30])
@pytest.mark.parametrize("name", TORCHVISION)
def test_the_plain_space_makes_the_pictures_that_torchvisions_rand_augment_makes(name, magnitude):
    magnitudes, signed = autoaugment.RandAugment()._augmentation_space(31, (SIDE, SIDE))[name]
    level = magnitudes[magnitude].item() if magnitudes.ndim else 0.0
    judged = {
        np.asarray(
            autoaugment._apply_op(
                Image.fromarray(scene()), name, sign * level, InterpolationMode.BILINEAR, None
            )
        ).tobytes()
        for sign in ((1, -1) if signed else (1,))
    }
    policy = RandAugment(
        space="plain",
        magnitude=magnitude,
        magnitude_std=0,
        probability=1.0,
        interpolation="bilinear",
        fill_rgb=(0, 0, 0),
    )
    assert pictures(chosen(policy, 300)[TORCHVISION[name]]) == judged


def arguments(name, magnitude):
    """What timm gives the operation at that magnitude: with both signs where it draws one."""
    level = auto_augment.LEVEL_TO_ARG[name]
    python_random.seed(0)
    return {level(magnitude, {}) if level else () for _ in range(40)}


@pytest.mark.parametrize("magnitude", [0, 0.3, 2.5, 4, 6, 7, 7.31, 9.99, 10])
@pytest.mark.parametrize("name", TIMM)
def test_the_increasing_space_makes_the_pictures_that_timm_makes(name, magnitude):
    assert list(TIMM) == auto_augment._RAND_INCREASING_TRANSFORMS
    policy = RandAugment(magnitude=magnitude, magnitude_std=0, probability=1.0, operations=1)
    found = pictures(chosen(policy, 600)[TIMM[name]])
    if (name, magnitude) == ("PosterizeIncreasing", 10):
        assert found == {bytes(scene().size)}  # no bit is kept; Pillow would refuse
        return
    judged = {
        np.asarray(
            auto_augment.NAME_TO_OP[name](
                Image.fromarray(scene()), *given_, resample=resample, fillcolor=GREY
            )
        ).tobytes()
        for given_ in arguments(name, magnitude)
        for resample in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    }
    assert found == judged


def test_rand_augment_is_timms_of_the_name_that_it_says():
    hparams = {"img_mean": GREY}
    judge = auto_augment.rand_augment_transform("rand-m7-mstd0.5-inc1", hparams)
    policy = RandAugment()
    assert (judge.num_layers, judge.choice_weights) == (policy.operations, None)
    assert [op.name for op in judge.ops] == list(TIMM)
    for op in judge.ops:
        assert (op.prob, op.magnitude) == (policy.probability, policy.magnitude)
        assert (op.magnitude_std, op.magnitude_max) == (policy.magnitude_std, None)
        assert op.kwargs["fillcolor"] == policy.fill_rgb
        assert op.kwargs["resample"] == (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)


shears = st.one_of(st.sampled_from([-2, -1, -0.5, 0, 1]), st.floats(-1, 1))
amounts = {
    "shear-x": shears,
    "shear-y": shears,
    "translate-x": st.one_of(st.integers(-50, 50), st.floats(-50, 50)),
    "translate-y": st.one_of(st.integers(-50, 50), st.floats(-50, 50)),
    "rotate": st.one_of(st.sampled_from([0, 90, 180, 270, -90]), st.floats(-180, 180)),
    "brightness": st.floats(0, 2),
    "colour": st.floats(0, 2),
    "contrast": st.floats(0, 2),
    "sharpness": st.floats(0, 2),
    "posterize": st.integers(1, 8),
    "solarize": st.one_of(st.integers(0, 256), st.floats(0, 256)),
    "solarize-add": st.integers(0, 128),
    "autocontrast": st.just(0.0),
    "equalize": st.just(0.0),
    "invert": st.just(0.0),
}


@st.composite
def cases(draw):
    name = draw(st.sampled_from(sorted(amounts)))
    way = draw(st.sampled_from(["nearest", "bilinear", "bicubic"]))
    fill = draw(st.tuples(*[st.integers(0, 255)] * 3))
    operation = Operation(name, draw(amounts[name]), way, fill)
    pixels = scene(draw(st.integers(1, 30)), draw(st.integers(1, 30)), draw(st.integers(0, 9)))
    few_levels = draw(st.booleans())
    return (pixels // 80 * 80 if few_levels else pixels), operation


@settings(deadline=None, max_examples=400)
@given(cases())
def test_every_operation_is_timms_at_any_amount_on_any_image(case):
    pixels, operation = case
    judge = next(auto_augment.NAME_TO_OP[name] for name, ours in TIMM.items()
                 if ours == operation.name)  # fmt: skip
    amount = operation.amount
    if operation.name.startswith("translate"):
        # timm is given a share and multiplies; this is what it then computes with.
        kind = f"translate_{operation.name[-1]}_abs"
        judge, amount = getattr(auto_augment, kind), -amount
    given_ = () if operation.name in ("autocontrast", "equalize", "invert") else (amount,)
    resample = Image.Resampling[operation.interpolation.upper()]
    judged = judge(
        Image.fromarray(pixels), *given_, resample=resample, fillcolor=operation.fill_rgb
    )
    assert np.array_equal(operations.apply(pixels, (operation,)), np.asarray(judged))
