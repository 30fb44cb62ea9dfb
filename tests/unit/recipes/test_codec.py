import json
from dataclasses import replace

import pytest

from resnets.core.errors import ResNetsError
from resnets.data.mixing import Mixing
from resnets.models import zoo
from resnets.recipes import codec, folder
from resnets.recipes.catalogue import RECIPES
from resnets.recipes.optimizers import AdamWSpec, LambSpec, SgdSpec
from resnets.recipes.schedule import Cosine, Linear, Plateau, StepDecay
from resnets.recipes.schema import DataSpec, EmaSpec, Expected, Recipe

short = Recipe(
    source="here",
    model=zoo.cifar(20),
    data=DataSpec(name="cifar10-sample"),
    optim=SgdSpec(learning_rate=0.1, nesterov=True),
    schedule=Linear(warmup_steps=150),
    batch_images=64,
    total_steps=2_500,
)
paper = RECIPES["cifar10.resnet110"]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_a_trip_through_json(name):
    tree = json.loads(json.dumps(codec.to_tree(RECIPES[name])))
    found = codec.from_tree(tree)
    assert found == RECIPES[name]
    assert codec.to_tree(found) == tree
    assert codec.digest(found) == codec.digest(RECIPES[name])


def test_a_recipe_as_json_says_its_defaults():
    tree = codec.to_tree(short)
    assert tree["label_smoothing"] == 0.0
    assert tree["precision"] == "auto"
    assert tree["optim"]["momentum"] == 0.9
    assert tree["data"]["augment"] == {"kind": "crop-flip", "pad_px": 4, "flip": True}


def test_a_tree_without_a_field_that_has_a_default_loads_as_before():
    tree = codec.to_tree(short)
    del tree["label_smoothing"], tree["data"]["augment"], tree["model"]["stride_on"]
    assert codec.from_tree(tree) == short


def test_augmentation_written_before_there_was_another_kind_loads_as_before():
    tree = codec.to_tree(short)
    del tree["data"]["augment"]["kind"]
    assert codec.from_tree(tree) == short


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree.pop("batch_images"), "batch_images: Field required"),
        (lambda tree: tree["optim"].pop("learning_rate"), r"optim\.learning_rate: Field required"),
        (lambda tree: tree.update(momentum=0.9), "momentum: Unexpected keyword argument"),
        (lambda tree: tree["optim"].update(lr=1), r"optim\.lr: Unexpected keyword argument"),
        (lambda tree: tree.update(batch_images="64"), "batch_images: Input should be a valid int"),
        (lambda tree: tree.update(batch_images=64.0), "batch_images: Input should be a valid int"),
        (lambda tree: tree.update(optim=None), "optim: Input should be"),
    ],
    ids=["missing", "missing inside", "unknown", "unknown inside", "text", "fraction", "nothing"],
)
def test_a_tree_with_a_missing_unknown_or_mistyped_key_is_refused_naming_it(change, message):
    tree = codec.to_tree(short)
    change(tree)
    with pytest.raises(ResNetsError, match=f"^{message}"):
        codec.from_tree(tree)


@pytest.mark.parametrize("tree", [None, 5, [], "recipe", {}])
def test_what_is_no_recipe_is_refused_in_one_line(tree):
    with pytest.raises(ResNetsError) as caught:
        codec.from_tree(tree)
    assert "\n" not in str(caught.value)


def test_a_digest_is_12_hex_digits_and_no_two_recipes_share_one():
    digests = {name: codec.digest(recipe) for name, recipe in RECIPES.items()}
    assert all(len(d) == 12 and int(d, 16) >= 0 for d in digests.values())
    assert len(set(digests.values())) == len(RECIPES)


def test_the_digest_leaves_out_where_numbers_come_from_and_lead_to():
    other = replace(paper, source="elsewhere", expected=None)
    assert codec.digest(other) == codec.digest(paper)
    more = replace(paper, expected=Expected(top1_error_percent=1.0, source="me"))
    assert codec.digest(more) == codec.digest(paper)


# One other valid value for every field that changes the numbers.
OTHER = {
    "model.kind": None,
    "model.stem.kernel": 5,
    "model.stem.width": 8,
    "model.stem.stride": 2,
    "model.stem.pool": True,
    "model.block": "bottleneck",
    "model.stages": [{"blocks": 18, "width": 16, "stride": 1}],
    "model.shortcut": "B",
    "model.classes": 11,
    "model.stride_on": "3x3",
    "model.drop_path": 0.1,
    "model.in_channels": 1,
    "data.name": "cifar10-sample",
    "data.held_out_images": 1,
    "data.held_out_share": 0.1,
    "data.augment.kind": None,
    "data.augment.pad_px": 3,
    "data.augment.flip": False,
    "data.policy": {"kind": "trivial-augment"},
    "data.erasing": {"probability": 0.2},
    "data.repeats": 2,
    "data.test": {"resize_px": 40, "crop_px": 32},
    "data.mean": [0.5, 0.5, 0.5],
    "data.std": [0.2, 0.2, 0.3],
    "mixing": {"mixup_alpha": 0.1},
    "optim.kind": None,
    "optim.learning_rate": 0.1000001,
    "optim.momentum": 0.8,
    "optim.nesterov": True,
    "optim.weight_decay": 0.0,
    "optim.decay_on": "weights",
    "schedule.kind": None,
    "schedule.milestones": [32_000],
    "schedule.factor": 0.2,
    "schedule.warmup": "linear",
    "schedule.warmup_steps": 401,
    "schedule.warmup_factor": 0.2,
    "batch_images": 127,
    "part_images": 64,
    "rate_rule": "linear",
    "total_steps": 63_999,
    "loss": "bce",
    "label_smoothing": 0.1,
    "class_weights": [0.5] * 10,
    "clip_norm": 1.0,
    "ema": {"decay": 0.9},
    "transfer": {"weights": "msra/resnet50"},
    "keep": "best",
    "patience": 3,
    "true_averages": True,
    "precision": "float32",
}


NO_NUMBERS = ("source", "expected", "differs")


def leaves(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def test_the_digest_changes_with_every_number_of_a_recipe():
    tree = codec.to_tree(paper)
    numbers = {leaf for leaf in leaves(tree) if leaf.split(".")[0] not in NO_NUMBERS}
    assert set(OTHER) == numbers
    found = {codec.digest(paper)}
    for path, value in OTHER.items():
        setting = f"{path}={json.dumps(value)}"
        if path == "schedule.kind":
            setting = 'schedule={"kind": "linear", "warmup_steps": 400}'
        if path == "optim.kind":
            setting = 'optim={"kind": "adamw", "learning_rate": 0.1}'
        if path == "data.augment.kind":
            setting = 'data.augment={"kind": "scale-crop"}'
        if path == "model.kind":
            setting = 'model={"kind": "googlenet", "classes": 10}'
        both = ["data.mean=[0.4, 0.4, 0.4]", "data.std=[0.2, 0.2, 0.2]"]  # neither goes alone
        before = both if path in ("data.mean", "data.std") else []
        found.add(codec.digest(codec.override(paper, [*before, setting])))
    assert len(found) == 1 + len(OTHER)


# Of recipes as they were when a digest knew no optimizer but SGD: published, and in manifests.
FIRST_DIGESTS = {
    "sample.resnet20": "458c61c755ac",
    "cifar10.resnet20": "441946e4cb19",
    "cifar10.resnet110": "2d381565980f",
    "cifar10.highway32": "e51c06015069",
    "cifar10.resnet20-short": "85fe6f06bd3f",
    "imagenet.plain18": "3ca2cb71b892",
    "imagenet.resnet18": "27e308499d0f",
    "imagenet.resnet152": "12cdf243b6c5",
}


def test_a_field_that_came_later_renames_no_experiment():
    assert {name: codec.digest(RECIPES[name]) for name in FIRST_DIGESTS} == FIRST_DIGESTS


# A recipe as the first release wrote it into its manifests.
FIRST_TREE = """
{"source": "here", "expected": {"top1_error_percent": 8.75, "source": "there"},
 "model": {"kind": "resnet", "stem": {"kernel": 3, "width": 16, "stride": 1, "pool": false},
  "block": "basic", "stages": [{"blocks": 3, "width": 16, "stride": 1},
  {"blocks": 3, "width": 32, "stride": 2}, {"blocks": 3, "width": 64, "stride": 2}],
  "shortcut": "A", "classes": 10, "stride_on": "1x1"},
 "data": {"name": "cifar10-sample", "held_out_images": 0,
  "augment": {"kind": "crop-flip", "pad_px": 4, "flip": true}},
 "optim": {"learning_rate": 0.2, "momentum": 0.9, "nesterov": true, "weight_decay": 0.001,
  "decay_on": "all"},
 "schedule": {"kind": "linear", "warmup_steps": 80}, "batch_images": 128, "total_steps": 1600,
 "label_smoothing": 0.0, "true_averages": false, "precision": "auto"}
"""
FIRST_PLATEAU = """
{"kind": "plateau", "every_steps": 5000, "patience": 5, "min_improvement_percent": 0.1,
 "factor": 0.1}
"""


def test_a_manifest_of_the_first_release_means_what_it_meant():
    found = codec.from_tree(json.loads(FIRST_TREE))
    assert replace(found, source="", expected=None) == replace(
        RECIPES["sample.resnet20"], source=""
    )
    assert isinstance(found.optim, SgdSpec)
    assert (found.loss, found.ema, found.clip_norm, found.part_images) == (
        "cross-entropy",
        None,
        None,
        None,
    )
    assert (found.rate_rule, found.mixing) == ("none", None)
    assert (found.model.drop_path, found.model.in_channels) == (0.0, 3)
    assert not found.expected.measured
    assert codec.digest(found) == FIRST_DIGESTS["sample.resnet20"]
    tree = json.loads(FIRST_TREE) | {"schedule": json.loads(FIRST_PLATEAU)}
    assert codec.from_tree(tree).schedule == Plateau()


def test_an_optimizer_without_a_kind_is_sgd_even_where_it_says_little():
    tree = codec.to_tree(short) | {"optim": {"learning_rate": 0.1}}
    assert codec.from_tree(tree).optim == SgdSpec(learning_rate=0.1)


@pytest.mark.parametrize(
    "setting",
    [
        ("optim", LambSpec(learning_rate=0.005, weight_decay=0.02)),
        ("optim", AdamWSpec(learning_rate=0.001, beta2=0.98)),
        ("schedule", Cosine(floor=0.01, warmup_steps=5)),
        ("schedule", StepDecay(milestones=(5,), warmup="linear", warmup_steps=3)),
        ("schedule", Plateau(warmup_steps=3)),
        ("ema", EmaSpec(decay=0.999, every_steps=32, copied_steps=64)),
        ("mixing", Mixing(mixup_alpha=0.1)),
        ("loss", "bce"),
        ("class_weights", tuple(float(i + 1) for i in range(10))),
        ("clip_norm", 1.0),
        ("part_images", 16),
        ("rate_rule", "square-root"),
        ("differs", ("a thing", "another")),
    ],
    ids=lambda setting: f"{setting[0]} {type(setting[1]).__name__}",
)
def test_what_came_later_survives_a_trip_through_json_too(setting):
    recipe = replace(short, **dict([setting]))
    assert recipe != short
    tree = json.loads(json.dumps(codec.to_tree(recipe)))
    assert codec.from_tree(tree) == recipe
    assert (codec.digest(recipe) == codec.digest(short)) is (setting[0] == "differs")


def test_the_digest_sees_the_numbers_inside_a_stage():
    first, *others = codec.to_tree(paper)["model"]["stages"]
    found = {codec.digest(paper)}
    for change in ({"blocks": 17}, {"width": 17}, {"stride": 2}):
        stages = json.dumps([first | change, *others])
        found.add(codec.digest(codec.override(paper, [f"model.stages={stages}"])))
    assert len(found) == 4


def test_a_whole_number_is_the_same_rate_however_it_is_written():
    whole = replace(short, optim=replace(short.optim, learning_rate=1))
    assert codec.digest(whole) == codec.digest(codec.override(short, ["optim.learning_rate=1.0"]))
    assert codec.digest(whole) == codec.digest(codec.override(short, ["optim.learning_rate=1e0"]))


def test_overriding_changes_the_named_fields_and_no_other():
    settings = ["optim.momentum=0.8", "model.shortcut=B", "data.augment.flip=false"]
    found = codec.override(short, [*settings, "total_steps=7"])
    assert found == replace(
        short,
        optim=replace(short.optim, momentum=0.8),
        model=replace(short.model, shortcut="B"),
        data=replace(short.data, augment=replace(short.data.augment, flip=False)),
        total_steps=7,
    )
    assert codec.override(short, []) == short


def test_a_later_setting_wins_and_the_recipe_is_checked_as_a_whole_at_the_end():
    assert codec.override(short, ["total_steps=0", "total_steps=9"]).total_steps == 9
    found = codec.override(short, ["optim.momentum=0", "optim.nesterov=false"])
    assert found.optim.momentum == 0


def test_a_value_may_be_a_bare_word_a_json_text_or_a_whole_object():
    assert codec.override(short, ["precision=float32"]).precision == "float32"
    assert codec.override(short, ['precision="float32"']).precision == "float32"
    found = codec.override(short, ['schedule={"kind": "step-decay", "milestones": [5, 9]}'])
    assert found.schedule == StepDecay(milestones=(5, 9))
    assert codec.override(paper, ["expected=null"]).expected is None
    with pytest.raises(ResNetsError, match=r"^schedule: Input should be an object, not null$"):
        codec.override(paper, ["schedule=null"])


def test_a_value_of_several_kinds_is_refused_with_all_of_them():
    recipe = folder.RECIPES[folder.FINETUNE]
    told = (
        r"^transfer\.frozen_stages: Input should be a valid integer, or: "
        r"Input should be 'all-but-last'$"
    )
    with pytest.raises(ResNetsError, match=told):
        codec.override(recipe, ["transfer.frozen_stages=first"])


def test_a_value_may_contain_an_equals_sign():
    assert codec.override(short, ["source=a=b"]).source == "a=b"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optim.lr=0.1", r"--set 'optim\.lr': there is none.*did you mean .*optim\.learning_rate"),
        ("optim.learning_rat=1", r"did you mean optim\.learning_rate"),
        ("momentum=0.9", r"did you mean .*optim\.momentum"),
        ("optim.momentum.x=1", r"--set 'optim\.momentum\.x': there is none"),
        ("=3", "--set '': there is none of that name"),
        ("batch_images", "--set batch_images: expected field=value"),
        ("optim.learning_rate=-1", r"^optim\.learning_rate: must be positive, got -1"),
        ("optim.learning_rate=NaN", r"^optim\.learning_rate: must be positive, got nan"),
        ("optim.learning_rate=Infinity", r"^optim\.learning_rate: must be positive, got inf"),
        ("optim.learning_rate=fast", r"^optim\.learning_rate: Input should be a valid number"),
        ("optim.momentum=1", r"^optim\.momentum: must be in \[0, 1\), got 1"),
        ("optim.momentum=0", r"^optim\.nesterov: needs a momentum above 0"),
        ("optim.weight_decay=-1", r"^optim\.weight_decay: must not be negative, got -1"),
        ("optim.nesterov=1", r"^optim\.nesterov: Input should be a valid boolean"),
        ("optim.decay_on=some", r"^optim\.decay_on: Input should be 'all', 'all-but-norms' or 'we"),
        ("optim=1", "^optim: Input should be an object$"),
        ("optim.kind=adam", r"^optim\.kind: names no known kind$"),
        ("optim.kind=lamb", r"^optim\.momentum: Unexpected keyword argument; optim\.nesterov: Un"),
        ('optim={"kind": "lamb"}', r"^optim\.learning_rate: Field required$"),
        ("loss=mse", "^loss: Input should be 'cross-entropy' or 'bce'"),
        ("rate_rule=cube", "^rate_rule: Input should be 'none', 'linear' or 'square-root'"),
        ("part_images=48", "^part_images: must divide batch_images, 64, got 48; name another with"),
        (
            "class_weights=[1, 2]",
            "^class_weights: needs one for each of 10 classes, or none, got 2",
        ),
        ("ema.decay=0.9", r"--set 'ema\.decay': there is none of that name"),
        ('ema={"decay": 1}', r"^ema\.decay: must be in \[0, 1\), got 1"),
        ("data.policy.kind=blur", r"--set 'data\.policy\.kind': there is none"),
        ('data.policy={"kind": "blur"}', r"^data\.policy\.kind: names no known kind"),
        ('data.test={"resize_px": 8, "crop_px": 9}', r"^data\.test: a crop of 9 px from a short"),
        ("model.drop_path=1", r"^model\.drop_path: must be in \[0, 1\), got 1"),
        ("precision=float64", "^precision: Input should be 'auto', 'float32', 'bfloat16' or 'fl"),
        ("batch_images=0", "^batch_images: must be positive, got 0"),
        ("batch_images=1.5", "^batch_images: Input should be a valid integer"),
        ("batch_images=true", "^batch_images: Input should be a valid integer"),
        ("batch_images=[[[", "^batch_images: Input should be a valid integer"),
        ("total_steps=0", "^total_steps: must be positive, got 0"),
        ("label_smoothing=1", r"^label_smoothing: must be in \[0, 1\), got 1"),
        ("data.held_out_images=-1", r"^data\.held_out_images: must not be negative, got -1"),
        ("data.augment.pad_px=129", r"^data\.augment\.pad_px: must be from 0 to 128, got 129"),
        ("data.augment.kind=blur", r"^data\.augment\.kind: names no known kind"),
        ("data.augment.crop_px=8", r"--set 'data\.augment\.crop_px': there is none"),
        (
            'data.augment={"kind": "scale-crop", "crop_px": 225, "shorter_px": [224, 480]}',
            r"^data\.augment\.crop_px: must be from 1 to 224, the least shorter_px, got 225",
        ),
        (
            'data.augment={"kind": "scale-crop", "shorter_px": [224]}',
            r"^data\.augment\.shorter_px\.1: Field required",
        ),
        ("model.classes=0", r"^model\.classes: must be positive, got 0"),
        ("model.shortcut=D", r"^model\.shortcut: Input should be 'none', 'A', 'B', 'C' or 'high"),
        ("model.stages=1", r"^model\.stages: Input should be a valid array"),
        ("schedule.kind=exponential", r"^schedule\.kind: names no known kind"),
        ("schedule.kind=step-decay", r"^schedule\.milestones: Field required"),
        ("schedule.warmup_steps=-1", r"^schedule\.warmup_steps: must not be negative, got -1"),
        (
            'schedule={"kind": "step-decay", "milestones": [5, 4]}',
            r"^schedule\.milestones: must increase from 0 up, got \(5, 4\)",
        ),
    ],
)
def test_a_bad_setting_is_refused_in_one_line_naming_the_field(setting, message):
    with pytest.raises(ResNetsError, match=message) as caught:
        codec.override(short, [setting])
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("name", ["cifar10.resnet20", "detect.finetune", "localize.finetune"])
def test_a_recipe_of_any_task_is_refused_whose_average_would_never_be_taken(name):
    setting = 'ema={"decay": 0.9, "every_steps": 70000}'
    with pytest.raises(ResNetsError, match=r"^ema\.every_steps: at most total_steps, "):
        codec.override(RECIPES[name], [setting])


def test_a_difference_says_each_field_that_changed_with_both_values():
    other = codec.override(short, ["optim.momentum=0.8", "batch_images=32"])
    assert codec.difference(short, other) == "optim.momentum: 0.9 -> 0.8; batch_images: 64 -> 32"
    assert codec.difference(other, short) == "optim.momentum: 0.8 -> 0.9; batch_images: 32 -> 64"


def test_there_is_no_difference_where_the_digest_is_the_same():
    assert codec.difference(short, short) == ""
    assert codec.difference(paper, replace(paper, source="elsewhere", expected=None)) == ""


def test_a_difference_says_fields_that_only_one_of_them_has():
    other = replace(short, schedule=StepDecay(milestones=(5,)))
    found = codec.difference(short, other).split("; ")
    assert 'schedule.kind: "linear" -> "step-decay"' in found
    assert "schedule.milestones: null -> [5]" in found
