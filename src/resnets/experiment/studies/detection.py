"""VGG-16 against ResNet-101 under the same detector (sec. 4.3, Tables 7 and 8).

resnets reproduce detection --data VOCdevkit     07+12, and 07++12 where 2012's test images are
resnets reproduce detection --data coco          train to val
resnets reproduce detection --quick              small networks on `cifar10-scenes`
resnets reproduce detection --quick --data D     the same on any data with boxes

Expected of the full runs: what the recipes name. Days to weeks of one GPU's time, so not run here:
unverified.

As in the paper nothing but the network is exchanged, and a network is a classifier first. The quick
ones become that on the built-in sample: a plain network, which the paper builds in VGG's style
(sec. 3.3), has VGG-16's place, a deeper ResNet that of ResNet-101. Both are the paper's CIFAR
networks with a max pool in the stem.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from resnets.core.errors import DataError
from resnets.data import opening, pasted, sample
from resnets.data.annotated import DetectionData
from resnets.data.opening import Data
from resnets.data.scenes import Scaling
from resnets.detection import coco_ap
from resnets.detection.anchors import AnchorSpec
from resnets.detection.detecting import Testing
from resnets.detection.learning import Learning
from resnets.detection.proposals import Selection
from resnets.detection.spec import FasterRCNNSpec
from resnets.experiment import detectors, journal, outcome, paper, trainings
from resnets.experiment.studies import depth, evaluations
from resnets.experiment.studies.study import (
    Found,
    Network,
    QuickDetector,
    Setting,
    Study,
    spread,
)
from resnets.experiment.trainings import Trained, Training
from resnets.experiment.transfer import Weights
from resnets.models import zoo
from resnets.models.spec import ResNetSpec, Shortcut
from resnets.recipes import sample as sample_recipes
from resnets.recipes.detector import DetectorRecipe, Pretrained, ScenesSpec
from resnets.recipes.optimizers import SgdSpec
from resnets.recipes.schedule import Cosine

_MEASURES: Final = ("ap50_percent", "ap_percent")
_SHARE: Final = 0.2  # of the images, held out at most
_MOST_TESTED: Final = 300  # images in a quick run, which is tested a dozen times


@dataclass(frozen=True, slots=True)
class Part:
    """What the paper's detectors are trained on and what they are tested on: a table's column.

    Args:
        name: Of the test, as `paper.DETECTION` has it.
        data: What the data set is called.
        trained: On what, in the paper's words.
        recipes: The recipe of each network, in the catalogue.
    """

    name: str
    data: str
    trained: str
    recipes: Mapping[str, str]

    def networks(self) -> Iterable[Network]:
        """Yield what is trained for it."""
        for network, recipe in self.recipes.items():
            yield Network(f"{network} on {self.name}", recipe)


PARTS: Final = tuple(
    Part(name, data, trained, {"VGG-16": f"{family}.vgg16", "ResNet-101": f"{family}.resnet101"})
    for name, data, trained, family in (
        ("VOC 2007 test", "voc", "07+12", "voc"),
        ("VOC 2012 test", "voc", "07++12", "voc2012"),
        ("COCO val", "coco", "COCO train", "coco"),
    )
)
# How many images the splits have whose numbers the paper prints: VOC's development kits, COCO 2014.
IMAGES: Final[dict[str, dict[str, int]]] = {
    "voc": {
        "2007/train": 2_501,
        "2007/validation": 2_510,
        "2007/test": 4_952,
        "2012/train": 5_717,
        "2012/validation": 5_823,
    },
    "coco": {"train": 82_783, "validation": 40_504},
}
_CALLED: Final = {"voc": "PASCAL VOC", "coco": "COCO"}
_PROTOCOLS: Final = {
    "voc2007": "VOC 2007's 11 points",
    "voc2010": "VOC 2010's area",
    "coco": "COCO's",
}


def _pooled(layers: int, shortcut: Shortcut) -> ResNetSpec:
    """Return a CIFAR network with a max pool, so that its shared map has 4 px of the image each."""
    made = zoo.cifar(layers, shortcut=shortcut)
    return replace(made, stem=replace(made.stem, pool=True))


def _quick(label: str, full: str, name: str, network: ResNetSpec) -> Network:
    """Return minutes of a small detector: a classifier as in `sample.*`, then 2,500 updates of 2.

    Images have 96 px; the classifier of regions looks at 32 of them in training, 30 in testing.
    """
    before = replace(sample_recipes.RECIPES["sample.resnet20"], model=network, expected=None)
    recipe = DetectorRecipe(
        source="this project; He et al. 2015, appendix A",
        model=FasterRCNNSpec(
            backbone=network,
            classes=10,
            anchors=AnchorSpec(scales_px=(16, 32, 64), stride_px=4),
        ),
        data=ScenesSpec(
            name=pasted.NAME, scaling=Scaling(shorter_px=96, longest_px=160), protocol="voc2007"
        ),
        learning=Learning(
            anchors=64, regions=32, proposed=Selection(before=1_000, most=200, smallest_px=8)
        ),
        testing=Testing(proposed=Selection(before=1_000, most=30, smallest_px=8)),
        optim=SgdSpec(learning_rate=0.004),  # as `detect.finetune`
        schedule=Cosine(warmup_steps=50),
        batch_images=2,
        total_steps=2_500,
        clip_norm=10.0,
        transfer=Pretrained(weights="the same network as a classifier of the built-in sample"),
    )
    return Network(label, full, QuickDetector(name, before, recipe))


def is_own(data: Data, *, quick: bool) -> bool:
    """Tell whether data is what the study means, and not another set of that layout."""
    if not isinstance(data, DetectionData):
        return False
    if quick:
        return data.name == pasted.NAME
    here = {name: len(files) for name, files in data.splits.items()}
    return data.name in IMAGES and IMAGES[data.name].items() <= here.items()


def _ready(wanted: Sequence[Training], data: Data, device: str | None) -> list[Training]:
    """Return the trainings that there is data for, each with the weights that it begins with."""
    boxed = opening.with_boxes(data)
    if any(each.before for each in wanted):
        fitting = [replace(each, recipe=_on(_detector(each), boxed)) for each in wanted]
    else:
        fitting = [each for each in wanted if _missing(_detector(each), boxed) is None]
    if not fitting:
        raise DataError(
            f"detection: needs PASCAL VOC, VOC2007 and VOC2012 in one folder, or COCO with train "
            f"and validation; got {boxed.name} with {', '.join(boxed.splits)}; `--quick` takes any "
            "data with boxes"
        )
    if any(_detector(each).data.protocol == "coco" for each in fitting):
        coco_ap.check()  # now, and not after the first of hours
    begun = _begun(fitting, device)
    return [_beginning(each, weights) for each, weights in zip(fitting, begun, strict=True)]


def _begun(wanted: Sequence[Training], device: str | None) -> list[Weights]:
    """Return what each begins with: what is published, or what is trained before."""
    first = [each.before for each in wanted if each.before is not None]
    if first:
        trained = trainings.train(first, sample.load(), device)
        return [Weights.of(each.folder) for each in trained]
    opened = cache(Weights.of)
    return [opened(_detector(each).transfer.weights) for each in wanted]


def _beginning(training: Training, weights: Weights) -> Training:
    recipe = detectors.for_weights(_detector(training), weights, network=True)
    return replace(training, recipe=recipe, weights=weights)


def _detector(training: Training) -> DetectorRecipe:
    assert isinstance(training.recipe, DetectorRecipe)
    return training.recipe


def _missing(recipe: DetectorRecipe, data: DetectionData) -> str | None:
    """Return what a data set lacks for a full recipe, in words; None where it lacks nothing."""
    wanted = recipe.data
    if data.name != wanted.name:
        return f"needs {_CALLED[wanted.name]}, and this was {data.name}"
    lacking = [name for name in (*wanted.train, wanted.test) if name not in data.splits]
    return f"needs {', '.join(lacking)}, which {data.name} lacks here" if lacking else None


def _on(recipe: DetectorRecipe, data: DetectionData) -> DetectorRecipe:
    """Return a quick recipe on the splits of any data, tested on few images.

    Raises:
        DataError: Nothing of it has boxes.
    """
    known = [name for name, files in data.splits.items() if files.annotated and len(files)]
    if not known:
        raise DataError(f"{data.name}: no split has boxes to learn from")
    train = tuple(name for name in known if name.rpartition("/")[2] == "train") or (known[0],)
    small = [name for name in known if name not in train and len(data.splits[name]) <= _MOST_TESTED]
    small.sort(key=lambda name: not name.endswith("test"))
    images = sum(len(data.splits[name]) for name in train)
    scenes = replace(
        recipe.data,
        train=train,
        test=small[0] if small else recipe.data.test,
        held_out_share=0.0 if small else min(_SHARE, _MOST_TESTED / images),
        protocol="coco" if data.name == "coco" else recipe.data.protocol,
    )
    return replace(recipe, data=scenes)


_COLUMNS = {
    "trained": "trained on",
    "tested": "tested on",
    "by": "average precision",
    "network": "network",
    "paper": "paper: AP50 / AP %",
    "ap50": "ours: AP50 %",
    "ap": "ours: AP %",
    "n": "n",
}


def _find(setting: Setting) -> Found:
    data = setting.data
    assert isinstance(data, DetectionData)
    if setting.quick:
        rows = [_row(setting, label, {}) for label, _ in setting.networks()]
        return Found(_COLUMNS, rows, _compared(*rows) + _NOT_THE_PAPERS)
    rows, says, left_out = [], [], []
    labels = dict(setting.networks())
    for part in PARTS:
        networks = [network for network in part.networks() if network.label in labels]
        told = {"trained": part.trained, "tested": part.name}
        pair = [
            _row(setting, network.label, {**told, "network": name, "paper": _printed(part, name)})
            for network, name in zip(networks, part.recipes, strict=False)
        ]
        rows += pair
        says += [_compared(*pair), *_to_hand_in(setting, networks)] if pair else []
        left_out += [] if pair else [_not_run(part, data)]
    return Found(_COLUMNS, rows, " ".join(filter(None, [*says, *left_out])))


_NOT_THE_PAPERS: Final = (
    " The networks are small, were classifiers of the built-in sample before, and have the places "
    "of VGG-16 and ResNet-101: nothing here is a number of the paper."
)


def _row(setting: Setting, label: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row: what the runs of one label measured, over seeds."""
    runs = setting.of(label)
    recipe = _detector(runs[0].training)
    measured = [_measured(setting, run) for run in runs]
    return {
        "trained": f"{recipe.data.name} {', '.join(recipe.data.train)}",
        "tested": f"{recipe.data.name} {journal.split(runs[0].records)}",
        "by": _PROTOCOLS[recipe.data.protocol],
        "network": label,
        "ap50": _spread([each.get("ap50_percent") for each in measured]),
        "ap": _spread([each.get("ap_percent") for each in measured]),
        "n": len(runs),
        **told,
    }


def _measured(setting: Setting, run: Trained) -> dict[str, float]:
    """Return the average precision of a finished detector on what its part is tested on.

    It is what the run itself measured after its last update. Where it could not, since nothing but
    its held-out images was left, the test split is looked at now.
    """
    if _is_watched(run):
        return _tested(setting, run)
    split = journal.split(run.records)
    record = outcome.kept_record(run.folder, run.records, run.training.recipe.keep)
    found = {name: record.get(f"{split}_{name}") for name in _MEASURES}
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def _is_watched(run: Trained) -> bool:
    """Tell whether a full run held images out because its test split has no boxes."""
    recipe = _detector(run.training)
    return bool(recipe.data.held_out_share) and run.training.before is None


def _tested(setting: Setting, run: Trained) -> dict[str, float]:
    assert isinstance(setting.data, DetectionData)
    recipe = _detector(run.training).data
    found = evaluations.detect(run, setting.data, recipe.test, recipe.protocol, setting.device)
    return {name: found[name] for name in _MEASURES if name in found}


def _spread(values: Sequence[float | None]) -> dict[str, Any] | None:
    known = [value for value in values if value is not None]
    return spread(known) if known else None


def _printed(part: Part, network: str) -> str:
    return " / ".join(
        "-" if ap is None else f"{ap:.1f}" for ap in paper.DETECTION[part.name][network]
    )


def _compared(shallow: Mapping[str, Any], deep: Mapping[str, Any]) -> str:
    """Return what the deeper network changes, in a sentence or two."""
    if shallow["ap50"] is None or deep["ap50"] is None:
        return ""
    words = ("a lower", "a higher", "within the seeds the same")
    word = depth.changed(shallow["ap50"], deep["ap50"], *words)
    a, b = shallow["ap50"]["mean"], deep["ap50"]["mean"]
    says = (
        f"On {deep['tested']} {deep['network']} has {word} average precision at an overlap of 0.5: "
        f"{b:.1f} %, {shallow['network']} {a:.1f} %."
    )
    if shallow["ap"] is not None and deep["ap"] is not None and shallow["ap"]["mean"] > 0:
        a, b = shallow["ap"]["mean"], deep["ap"]["mean"]
        says += (
            f" COCO's own, over overlaps of 0.5 to 0.95, goes from {a:.1f} to {b:.1f} %: "
            f"{100 * (b - a) / a:+.0f} % of it."
        )
    return says


def _not_run(part: Part, data: DetectionData) -> str:
    (network, *_) = part.networks()
    recipe = network.recipe(quick=False)[1]
    assert isinstance(recipe, DetectorRecipe)
    return f"{part.name} was not run: it {_missing(recipe, data)}."


def _to_hand_in(setting: Setting, networks: Iterable[Network]) -> Iterable[str]:
    """Yield where the detections lie of a test split whose boxes nobody published."""
    assert isinstance(setting.data, DetectionData)
    for network in networks:
        run = setting.of(network.label)[0]
        split = _detector(run.training).data.test
        if _is_watched(run) and not setting.data.splits[split].annotated:
            where = evaluations.submission(run, split)
            yield f"VOC's server measures {network.label}: it takes {where.as_posix()}."


DETECTION = Study(
    title="VGG-16 against ResNet-101 in Faster R-CNN: average precision on VOC and COCO",
    source="He et al. 2015, Tables 7 and 8",
    find=_find,
    networks=tuple(network for part in PARTS for network in part.networks()),
    quick_networks=(
        _quick("plain-20", "voc.vgg16", "plain20", _pooled(20, "none")),
        _quick("ResNet-32", "voc.resnet101", "resnet32", _pooled(32, "A")),
    ),
    needs="voc or coco",
    ready=_ready,
)
