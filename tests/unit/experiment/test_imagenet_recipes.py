"""Every recipe for ImageNet through the real path, on archives as published with 24 images.

Only sizes and lengths shrink, and the network, one for all. `scripts/smoke_imagenet_recipes.py`
does an epoch of each with its own network.
"""

import json
import math
from dataclasses import replace

import pytest

import samples
from resnets.core import artifacts
from resnets.core.errors import InterruptedRunError
from resnets.data import opening
from resnets.experiment import asking, build, evaluate, run
from resnets.experiment.asking import Changes
from resnets.inference import checkpoints
from resnets.models import zoo
from resnets.recipes import catalogue, codec
from resnets.recipes.schema import EmaSpec

NAMES = [name for name in catalogue.CLASSIFIERS if name.startswith("imagenet.")]
CROP_PX = 32
# A few updates remember nothing of an average for 600 epochs: one for them, with every rule of it.
AVERAGED = ("ema.decay=0.5", "ema.every_steps=2", "ema.copied_steps=1")


def procedure(recipe):
    """The recipe without its network and what is known of that."""
    model = replace(zoo.named("resnet18"), drop_path=recipe.model.drop_path)
    return replace(recipe, model=model, expected=None)


# The first recipe of every procedure.
PROCEDURES = list({procedure(catalogue.RECIPES[n]): n for n in reversed(NAMES)}.values())[::-1]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return opening.open_data(samples.write_imagenet(tmp_path_factory.mktemp("data") / "ILSVRC2012"))


@pytest.fixture(autouse=True)
def logged(monkeypatch):
    monkeypatch.setattr(run, "_LOG_EVERY", 1)
    monkeypatch.setattr(run, "_SAVE_AFTER_S", 1e9)


def asked(name, *settings, model="cifar-resnet8"):
    recipe = catalogue.named(name)
    words = (*samples.shrinking(recipe, CROP_PX), "precision=float32")
    averaged = AVERAGED if recipe.ema else ()
    return Changes(model=model, epochs=3, batch_images=8, settings=(*words, *averaged, *settings))


def train(name, data, out, *settings):
    changes = asked(name, *settings)
    return asking.start(name, data, changes, out=out, device="cpu", compiling="off")


def journal(folder):
    records = artifacts.read_lines(folder / "journal.jsonl")
    return [{k: v for k, v in r.items() if k != "images_per_second"} for r in records]


def test_there_are_recipes_of_all_procedures():
    assert len(NAMES) == 9 + 1 + 5 + 3 + 3 * 5
    ends = [name.rpartition("-")[2] for name in PROCEDURES]
    assert sorted(ends) == ["a1", "a2", "a3", "imagenet.plain18", "tv1", "tv2"]


@pytest.mark.parametrize("name", NAMES)
def test_a_small_run_of_a_recipe_has_all_of_it_but_its_sizes_and_its_length(archives, name):
    recipe = catalogue.RECIPES[name]
    small = asked(name, model=None).apply(recipe, archives)
    assert (small.batch_images, small.total_steps) == (8, 6)
    assert small.part_images in (None, 4)
    assert (small.part_images is None) == (recipe.part_images is None)
    assert small.model == recipe.model
    kept = ("mixing", "loss", "label_smoothing", "clip_norm", "true_averages", "rate_rule", "keep")
    assert [getattr(small, field) for field in kept] == [getattr(recipe, field) for field in kept]
    for field in ("policy", "erasing", "repeats", "mean", "std"):
        assert getattr(small.data, field) == getattr(recipe.data, field)
    ratio = small.batch_images / recipe.batch_images
    factor = {"none": 1, "linear": ratio, "square-root": math.sqrt(ratio)}[recipe.rate_rule]
    rate = pytest.approx(recipe.optim.learning_rate * factor, rel=1e-12)
    assert small.optim.learning_rate == rate
    assert replace(small.optim, learning_rate=recipe.optim.learning_rate) == recipe.optim
    assert small.schedule == recipe.schedule.stretched(6 / recipe.total_steps)
    expected = EmaSpec(decay=0.5, every_steps=2, copied_steps=1) if recipe.ema else None
    assert small.ema == expected


@pytest.mark.parametrize("name", PROCEDURES)
def test_a_recipe_trains_on_imagenets_archives_and_is_evaluated_to_the_same_numbers(
    archives, tmp_path, name
):
    out, recipe = tmp_path / "run", catalogue.RECIPES[name]
    ended = train(name, archives, out)
    assert (ended.split, ended.images, ended.updates) == ("validation", 8, 6)
    found, manifest = checkpoints.newest(out), json.loads((out / "manifest.json").read_text())
    assert manifest["name"] == name
    ran = codec.from_tree(manifest["recipe"])
    assert ran == asked(name).apply(recipe, archives)
    assert ran.model.drop_path == recipe.model.drop_path
    losses = [record["loss"] for record in journal(out) if "loss" in record]
    assert len(losses) == 6
    assert all(map(math.isfinite, losses))
    assert found.preprocess == build.tested_view(ran)
    last, measured = journal(out)[-1], evaluate.evaluate(out, archives.where)
    for key in ("top1_error_percent", "top5_error_percent", "images"):
        assert getattr(measured, key) == last[f"validation_{key}"]


# What each of these changes is something that "-tv2" and "-a2" really do while they train.
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("imagenet.resnet50-tv2", "data.policy=null"),
        ("imagenet.resnet50-tv2", "data.erasing=null"),
        ("imagenet.resnet50-tv2", "data.repeats=1"),
        ("imagenet.resnet50-tv2", "mixing=null"),
        ("imagenet.resnet50-tv2", "label_smoothing=0"),
        ("imagenet.resnet50-tv2", "ema=null"),
        ("imagenet.resnet50-tv2", "optim.weight_decay=0"),
        ("imagenet.resnet50-tv2", "part_images=null"),
        ("imagenet.resnet50-a2", "loss=cross-entropy"),
        ("imagenet.resnet50-a2", "clip_norm=0.001"),  # so small are gradients of "bce" here
        ("imagenet.resnet50-a2", "model.drop_path=0"),
        ("imagenet.resnet50-a2", "optim.weight_decay=0"),
    ],
)
def test_with_one_part_of_a_recipe_changed_the_network_is_another(
    archives, tmp_path, whole, name, change
):
    changes = asked(name, change)
    if change == "ema=null":  # has no fields to be set then
        changes = replace(changes, settings=[s for s in changes.settings if s not in AVERAGED])
    asking.start(name, archives, changes, out=tmp_path / "run", device="cpu", compiling="off")
    assert weights(tmp_path / "run") != weights(whole(name))


def weights(folder):
    return checkpoints.newest(folder).weights_sha256


@pytest.fixture(scope="module")
def whole(archives, tmp_path_factory):
    """Finished runs of recipes, by their names; not to be changed."""
    made = {}

    def of(name):
        if name not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(run, "_LOG_EVERY", 1)
                made[name] = train(name, archives, tmp_path_factory.mktemp("whole") / "run").folder
        return made[name]

    return of


@pytest.mark.parametrize("stop", [1, 3, 4])
@pytest.mark.parametrize("name", ["imagenet.resnet50-tv2", "imagenet.resnet50-a2"])
def test_stopped_and_resumed_a_run_with_everything_ends_in_the_same_bits(
    archives, tmp_path, loop, whole, name, stop
):
    out, expected = tmp_path / "run", whole(name)
    loop.terminate_after(stop)
    with pytest.raises(InterruptedRunError):
        train(name, archives, out)
    loop.undisturbed()
    asking.resume(out, None, None, Changes())
    assert weights(out) == weights(expected)
    assert journal(out) == journal(expected)
