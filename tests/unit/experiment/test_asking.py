from dataclasses import replace

import pytest

import samples
from resnets.core import artifacts
from resnets.core.errors import DataError, ModelError, RecipeError, RunError
from resnets.data import sample, synthetic
from resnets.data.preprocess import Preprocess
from resnets.experiment import asking, manifests, run
from resnets.experiment.asking import Changes
from resnets.inference import checkpoints
from resnets.models import zoo
from resnets.recipes import codec
from resnets.recipes.schedule import StepDecay
from resnets.recipes.schema import EmaSpec

DATA = synthetic.make()


def test_no_change_leaves_a_recipe_as_it_is(tiny):
    assert Changes().none
    assert Changes().apply(tiny, DATA) == tiny
    assert not Changes(epochs=1).none
    assert not Changes(settings=("seed=1",)).none


def test_another_network_takes_the_classes_of_the_data(tiny):
    found = Changes(model="cifar-plain14").apply(tiny, DATA)
    assert found.model == replace(zoo.named("cifar-plain14"), classes=4)
    assert replace(found, model=tiny.model) == tiny


def test_a_batch_size_and_a_rate_change_themselves_alone(tiny):
    found = Changes(batch_images=8, rate=0.5).apply(tiny, DATA)
    expected = replace(tiny, batch_images=8, optim=replace(tiny.optim, learning_rate=0.5))
    assert found == expected


def test_a_recipes_rule_makes_the_rate_follow_the_batch_that_was_asked_for(tiny):
    def rate(rule, **changes):
        return Changes(**changes).apply(replace(tiny, rate_rule=rule), DATA).optim.learning_rate

    assert rate("linear", batch_images=32) == pytest.approx(0.02)
    assert rate("square-root", batch_images=64) == pytest.approx(0.02)
    assert rate("linear", settings=("batch_images=32",)) == pytest.approx(0.02)
    assert rate("none", batch_images=32) == 0.01
    assert rate("linear", batch_images=32, settings=("rate_rule=none",)) == 0.01
    assert rate("none", batch_images=32, settings=("rate_rule=linear",)) == pytest.approx(0.02)
    # A rate that is named is taken as written.
    assert rate("linear", batch_images=32, rate=0.5) == 0.5
    assert rate("linear", batch_images=32, settings=("optim.learning_rate=0.5",)) == 0.5
    assert rate("linear", batch_images=32, settings=("optim.momentum=0.8",)) == pytest.approx(0.02)


def test_a_batch_may_be_asked_for_together_with_its_parts(tiny):
    parts = replace(tiny, part_images=8)
    assert Changes(batch_images=32).apply(parts, DATA).part_images == 8
    assert Changes(batch_images=4).apply(parts, DATA).part_images == 8
    with pytest.raises(RecipeError, match="part_images: must divide batch_images, 12, got 8"):
        Changes(batch_images=12).apply(parts, DATA)
    found = Changes(batch_images=12, settings=("part_images=6",)).apply(parts, DATA)
    assert (found.batch_images, found.part_images) == (12, 6)


def test_a_rate_that_followed_the_batch_is_told_when_a_run_begins(tmp_path, capsys):
    changes = Changes(
        model="cifar-resnet8", batch_images=64, epochs=1, settings=["rate_rule=linear"]
    )
    asking.start("sample.resnet20", "synthetic", changes, out=tmp_path / "run", device="cpu")
    told = capsys.readouterr().err
    assert "note         rate 0.2 -> 0.1, by the linear rule, for batches of 64 instead of" in told
    assert manifests.read(tmp_path / "run")["recipe"]["optim"]["learning_rate"] == 0.1


def test_more_epochs_stretch_the_moving_average_too(tiny):
    averaging = replace(tiny, ema=EmaSpec(decay=0.9, every_steps=2, copied_steps=2))
    found = Changes(epochs=5).apply(averaging, DATA)  # 80 updates, not 10
    assert found.ema.copied_steps == 16
    assert found.ema.decay == pytest.approx(1 - 0.1 / 8)
    found = Changes(epochs=5, settings=("ema.decay=0.5",)).apply(averaging, DATA)
    assert (found.ema.decay, found.ema.copied_steps) == (0.5, 16)


def test_another_network_drops_as_much_as_the_recipes(tiny):
    dropping = replace(tiny, model=replace(tiny.model, drop_path=0.1))
    assert Changes(model="cifar-resnet14").apply(dropping, DATA).model.drop_path == 0.1
    assert Changes(model="cifar-plain14").apply(dropping, DATA).model.drop_path == 0


def test_epochs_set_the_updates_and_stretch_the_schedule_to_fit(tiny):
    stepping = replace(tiny, schedule=StepDecay(milestones=(6, 8)), total_steps=10)
    found = Changes(epochs=5).apply(stepping, DATA)
    assert found.total_steps == 5 * 256 // 16
    assert found.schedule == StepDecay(milestones=(48, 64))


def test_epochs_count_the_batch_that_was_asked_for_and_leave_out_what_is_held_out(tiny):
    assert Changes(epochs=1, batch_images=100).apply(tiny, DATA).total_steps == 3  # 2.56
    settings = ("batch_images=100", "data.held_out_images=100")
    assert Changes(epochs=1, settings=settings).apply(tiny, DATA).total_steps == 2  # 1.56


def test_settings_come_after_the_other_changes(tiny):
    found = Changes(rate=0.5, settings=("optim.learning_rate=0.25",)).apply(tiny, DATA)
    assert found.optim.learning_rate == 0.25


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (Changes(model="cifar-resnet9"), ModelError, r"6n\+2"),
        (Changes(epochs=0), RecipeError, "--epochs: must be positive, got 0"),
        (Changes(epochs=-1), RecipeError, "--epochs: must be positive, got -1"),
        (Changes(batch_images=0), RecipeError, "batch_images: must be positive, got 0"),
        (Changes(rate=-1.0), RecipeError, r"optim\.learning_rate: must be positive, got -1"),
        (Changes(rate=float("nan")), RecipeError, r"optim\.learning_rate: must be positive"),
        (Changes(settings=("a=1",)), RecipeError, "--set 'a': there is none"),
        (Changes(settings=("data.held_out_images=256",), epochs=1), DataError, "from 1 to 255"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, Changes) else "",
)
def test_a_change_that_makes_no_sense_is_refused(tiny, changes, error, message):
    with pytest.raises(error, match=message):
        changes.apply(tiny, DATA)


def test_a_recipe_is_trained_by_its_name_with_what_was_asked_for(tmp_path):
    changes = Changes(
        model="cifar-resnet8", epochs=1, batch_images=64, settings=["precision=float32"]
    )
    ended = asking.start(
        "sample.resnet20", "synthetic", changes, out=tmp_path / "run", seed=3, device="cpu"
    )
    told = manifests.read(tmp_path / "run")
    assert ended.updates == 4
    assert told["name"] == "sample.resnet20"
    assert told["seed"] == 3
    assert told["data"]["name"] == told["recipe"]["data"]["name"] == "synthetic"
    assert told["recipe"]["model"]["classes"] == 4


class Asked(Exception):  # noqa: N818 - no error
    """Carries what a run would have been started with."""


def asked_for(monkeypatch, *given):
    def caught(recipe, data, **named):
        raise Asked(recipe, data, named["name"])

    monkeypatch.setattr(run, "start", caught)
    with pytest.raises(Asked) as caught_:
        asking.start(*given)
    return caught_.value.args


def test_with_nothing_named_the_built_in_sample_is_trained_on(monkeypatch):
    recipe, data, name = asked_for(monkeypatch, None, None, Changes())
    assert name == "sample.resnet20"
    assert data.digest == sample.CONTENT_SHA256
    assert recipe.data.name == "cifar10-sample"


def test_data_alone_picks_the_recipe_made_for_it(monkeypatch):
    whole = replace(sample.load(), name="cifar10")
    recipe, _, name = asked_for(monkeypatch, None, whole, Changes())
    assert name == "cifar10.resnet20-short"
    assert recipe.data.name == "cifar10"


def test_a_recipe_alone_opens_the_data_it_names(monkeypatch):
    _, data, name = asked_for(monkeypatch, "sample.plain20", None, Changes())
    assert (name, data.name) == ("sample.plain20", "cifar10-sample")


def test_data_that_no_recipe_is_made_for_needs_a_recipe(tmp_path):
    with pytest.raises(DataError, match="synthetic: no recipe is made for it; name one"):
        asking.start(None, "synthetic", Changes(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_wrong_name_is_said_before_any_data_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RecipeError, match=r"recipe 'cifar10\.resnet21'"):
        asking.start("cifar10.resnet21", "cifar10", Changes())
    with pytest.raises(ModelError, match="model 'resnet-50'"):
        asking.start("cifar10.resnet20", None, Changes(model="resnet-50"))
    assert list(tmp_path.iterdir()) == []


def test_setting_the_name_of_the_data_is_refused_in_favour_of_the_option(tmp_path):
    changes = Changes(settings=("data.name=synthetic",))
    with pytest.raises(RecipeError, match=r"data\.name: name the data with --data synthetic"):
        asking.start("sample.resnet20", None, changes, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_interrupted_run_is_resumed_without_naming_anything(interrupted):
    assert asking.resume(interrupted, None, None, Changes()).updates == 10


def test_a_setting_that_repeats_what_the_run_began_with_is_taken(interrupted):
    changes = Changes(batch_images=16, settings=("optim.momentum=0.9", "precision=auto"))
    assert asking.resume(interrupted, None, "synthetic", changes).updates == 10


@pytest.mark.parametrize(
    ("name", "changes", "difference"),
    [
        (None, Changes(rate=0.2), r"optim\.learning_rate: 0\.01 -> 0\.2"),
        (None, Changes(settings=("total_steps=20",)), "total_steps: 10 -> 20"),
        (None, Changes(epochs=2), "total_steps: 10 -> 32"),
        ("sample.resnet20", Changes(), "total_steps: 10 -> "),
    ],
    ids=["rate", "setting", "epochs", "recipe"],
)
def test_naming_another_recipe_when_resuming_is_refused(interrupted, name, changes, difference):
    with pytest.raises(RunError, match=rf"began with another recipe \(.*{difference}"):
        asking.resume(interrupted, name, None, changes)


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """Twenty-four images in two classes and one split."""
    folder = tmp_path_factory.mktemp("data") / "pets"
    for k, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for i in range(12):
            (folder / name / f"{i}.jpg").write_bytes(samples.jpeg(20 * k + i))
    return folder


def finetuned(monkeypatch, data, finished, *settings, **changes):
    """The recipe that a run of `folder.finetune` would be started with."""
    given = Changes(weights=finished.folder, settings=settings, **changes)
    return asked_for(monkeypatch, None, data, given)[0]


def test_a_folder_of_images_alone_means_to_finetune_on_them(monkeypatch, pets, finished):
    recipe, data, name = asked_for(monkeypatch, None, pets, Changes(weights=finished.folder))
    assert (name, data.name) == ("folder.finetune", "pets")
    assert recipe.model == replace(zoo.named("cifar-resnet8"), classes=2)
    assert recipe.data.name == "pets"
    assert recipe.data.held_out_share == 0.2
    assert recipe.batch_images == 20  # twelve of a class, two of which are held out
    assert recipe.total_steps == 40


def test_length_and_batch_fit_what_was_asked_to_be_held_out(monkeypatch, pets, finished):
    recipe = finetuned(monkeypatch, pets, finished, "data.held_out_share=0.5")
    assert (recipe.data.held_out_share, recipe.batch_images) == (0.5, 12)
    recipe = finetuned(monkeypatch, pets, finished, "data.held_out_images=3")
    assert (recipe.data.held_out_images, recipe.data.held_out_share) == (3, 0)
    assert recipe.batch_images == 21


def test_what_is_asked_for_changes_what_fits_the_data(monkeypatch, pets, finished):
    recipe = finetuned(
        monkeypatch, pets, finished, "transfer.head=random", "transfer.frozen_stages=1",
        epochs=3, batch_images=10,
    )  # fmt: skip
    assert (recipe.total_steps, recipe.batch_images) == (6, 10)
    assert (recipe.transfer.head, recipe.transfer.frozen_stages) == ("random", 1)
    assert recipe.transfer.weights.startswith("sha256:")


@pytest.fixture
def wide(finished, tmp_path):
    """The weights of the run `finished`, which want 224 px of 256 now."""
    found = checkpoints.newest(finished.folder)
    view = Preprocess(resize_px=256, crop_px=224, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    about = {**found.about, "preprocessing": codec.preprocess_to_tree(view)}
    path = tmp_path / "wide.safetensors"
    artifacts.save_tensors(path, found.tensors, about)
    return path


@pytest.mark.parametrize(
    ("settings", "frozen", "side"),
    [
        ((), "all-but-last", 200),  # the nearest to 7/9 of 256 that 4 divides
        (("transfer.frozen_stages=0",), 0, 200),
        (("transfer.fixed_bn=false",), 0, 200),
        (("data.augment.crop_px=224",), "all-but-last", 224),
        (("data.augment.area=[0.5, 1]",), "all-but-last", 220),
    ],
)
def test_few_images_train_the_last_stage_on_crops_at_the_scale_of_the_test(
    monkeypatch, pets, wide, settings, frozen, side
):
    recipe = asked_for(monkeypatch, None, pets, Changes(weights=wide, settings=settings))[0]
    assert recipe.transfer.frozen_stages == frozen
    assert recipe.data.augment.crop_px == side
    assert recipe.data.test.crop_px == 224


def test_weights_are_named_once(monkeypatch, pets, finished, tmp_path):
    for setting, message in (
        ("transfer.weights=other", "name the weights with --weights other"),
        ("transfer=null", "null is from scratch"),
    ):
        changes = Changes(weights=finished.folder, settings=(setting,))
        with pytest.raises(RecipeError, match=message):
            asking.start(None, pets, changes, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_names_weights_may_be_trained_from_scratch(monkeypatch, pets):
    changes = Changes(model="cifar-resnet8", settings=("transfer=null",))
    recipe, _, _ = asked_for(monkeypatch, None, pets, changes)
    assert recipe.transfer is None
    assert recipe.model.classes == 2


def test_any_recipe_may_begin_with_weights_of_its_own_network(monkeypatch, finished):
    changes = Changes(weights=finished.folder, model="cifar-resnet8")
    recipe, _, _ = asked_for(monkeypatch, "sample.resnet20", None, changes)
    assert recipe.transfer.fixed_bn
    assert recipe.model.classes == 10
    with pytest.raises(ModelError, match="weights of cifar-resnet8, not of cifar-resnet20"):
        asking.start("sample.resnet20", None, Changes(weights=finished.folder))


def test_bn_is_not_fixed_where_a_recipe_ends_with_true_averages(monkeypatch, pets, finished):
    changes = Changes(weights=finished.folder, model="cifar-resnet8", batch_images=4)
    settings = ("data.held_out_share=0.2", "data.augment.shorter_px=[36,48]")
    recipe, _, _ = asked_for(
        monkeypatch, "imagenet.resnet18", pets, replace(changes, settings=settings)
    )
    assert recipe.true_averages
    assert not recipe.transfer.fixed_bn


def test_balanced_weights_are_numbers_once_a_recipe_is_fitted_to_its_data(
    monkeypatch, pets, finished
):
    recipe = finetuned(monkeypatch, pets, finished, "class_weights=balanced")
    assert recipe.class_weights == (1.0, 1.0)


def test_resuming_from_scratch_with_weights_is_refused(interrupted, finished):
    with pytest.raises(RunError, match=r"began with another recipe \(transfer"):
        asking.resume(interrupted, None, None, Changes(weights=finished.folder))


def test_naming_other_data_when_resuming_is_refused(interrupted):
    with pytest.raises(RunError, match="began with other data"):
        asking.resume(interrupted, None, "cifar10-sample", Changes())
