"""What several tests make: small images, ImageNet's archives, networks as training leaves them."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageDraw
from torch import nn

import scenes
from resnets.data import imagenet, imagenet_classes, synthetic
from resnets.data.annotated import AnnotatedFiles
from resnets.data.crops import ScaleCrop
from resnets.data.scenes import Scaling
from resnets.detection.anchors import AnchorSpec
from resnets.detection.learning import Learning
from resnets.detection.spec import FasterRCNNSpec
from resnets.models.network import ResNet, he_init
from resnets.models.spec import ResNetSpec, StageSpec, StemSpec
from resnets.recipes.detector import DetectorRecipe, Pretrained, ScenesSpec
from resnets.recipes.optimizers import SgdSpec
from resnets.recipes.schedule import Linear

IMAGENET_STEP = 125  # of a thousand classes, every which has images
IMAGENET_VALIDATION = 8  # images


def jpeg(seed, width=90, height=70):
    made = io.BytesIO()
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height)).save(made, "JPEG")
    return made.getvalue()


def photo(width, height, seed=0, cell_px=12):
    """Coarse shapes in colour with some grain, as a camera makes them."""
    draw = np.random.default_rng(seed)
    cells = (height // cell_px + 2, width // cell_px + 2, 3)
    coarse = Image.fromarray(draw.integers(0, 256, cells, dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    grain = draw.integers(-6, 7, smooth.shape)
    return Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))


def saved(image, kind="JPEG", **options):
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def archive(members, mode="w"):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as tar:
        for name, inside in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(inside)
            tar.addfile(about, io.BytesIO(inside))
    return made.getvalue()


def shard(rows, label="cls"):
    """A tar in WebDataset's layout of (file name, bytes, class index or a JSON value) rows."""
    members = {}
    for name, content, said in rows:
        key = name.rpartition(".")[0]
        members[name] = content
        members[f"{key}.{label}"] = (str(said) if label == "cls" else json.dumps(said)).encode()
    return archive(members)


def table(rows, classes=None, path=True):
    """A table of (file name, bytes, label) rows as `datasets` has it in a Parquet file."""
    names, contents, given = zip(*rows, strict=True)
    images = [
        {"bytes": content, "path": name if path else None}
        for name, content in zip(names, contents, strict=True)
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"image": {"_type": "Image"}, "label": {"names": classes, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if classes else None
    return pa.table({"image": pa.array(images, kind), "label": list(given)}, metadata=metadata)


def write_table(file, made, group_rows=100):
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(made, file, row_group_size=group_rows)
    return file


def write_imagenet(folder):
    """ImageNet as published, with two training images and one to validate on of eight classes."""
    folder.mkdir()
    wnids = imagenet_classes.wnids()[::IMAGENET_STEP]
    inner = {
        f"{wnid}.tar": archive({f"{wnid}_{i}.JPEG": jpeg(2 * k + i) for i in range(2)})
        for k, wnid in enumerate(wnids)
    }
    (folder / imagenet.TRAIN_TAR).write_bytes(archive(inner))
    numbers = range(IMAGENET_VALIDATION)
    validation = {f"ILSVRC2012_val_{k + 1:08d}.JPEG": jpeg(100 + k, 70, 95) for k in numbers}
    (folder / imagenet.VALIDATION_TAR).write_bytes(archive(validation))
    number_of = {label: number for number, label in imagenet_classes.index_by_devkit_id().items()}
    truth = "".join(f"{number_of[IMAGENET_STEP * k]}\n" for k in numbers).encode()
    inside = {f"{imagenet.DEVKIT}/data/ILSVRC2012_validation_ground_truth.txt": truth}
    (folder / f"{imagenet.DEVKIT}.tar.gz").write_bytes(archive(inside, "w:gz"))
    return folder


def shrinking(recipe, crop_px):
    """What `--set` has to say for a recipe for ImageNet to see small crops in parts of 4 images.

    Where it tests in larger crops than it trains with it still does.
    """
    augment, test = recipe.data.augment, recipe.data.test
    settings = [f"data.augment.crop_px={crop_px}"]
    if isinstance(augment, ScaleCrop):
        settings.append(f"data.augment.shorter_px=[{crop_px + 4},{crop_px + 16}]")
    if test is not None:
        tested_px = crop_px + (8 if test.crop_px > augment.crop_px else 0)
        settings += [f"data.test.crop_px={tested_px}", f"data.test.resize_px={tested_px + 4}"]
    return [*settings, *(["part_images=4"] if recipe.part_images else [])]


def trained(spec):
    """A network with weights and averages that are no beginning any more."""
    draw = torch.Generator().manual_seed(0)
    network = ResNet(spec)
    he_init(network, draw)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.3, generator=draw)
            nn.init.normal_(module.bias, 0, 0.3, generator=draw)
            module.running_mean.normal_(0, 0.3, generator=draw)
            module.running_var.uniform_(0.5, 2, generator=draw)
    return network


def write_photos(folder):
    """Write 24 images to train on and 23 to validate on, of several sizes and four classes."""
    data = synthetic.make()
    for split, images, count in (("train", data.train, 24), ("val", data.test, 23)):
        for i in range(count):
            place = folder / split / data.classes[int(images.labels_n[i])]
            place.mkdir(parents=True, exist_ok=True)
            grown = Image.fromarray(images.images_nhwc[i].numpy()).resize((40 + i, 64 - i))
            grown.save(place / f"{i}.png")
    return folder


def everything(photos, updates, *, part_images=4):
    """Return the words that train on photos with all that makes resuming and sharing harder.

    That is RandAugment, repeats, erasing, mixup or CutMix, dropped paths, parts of a batch, a norm
    that is clipped, LAMB, a moving average, and true averages.
    """
    part = "null" if part_images is None else part_images
    settings = [
        *(f"total_steps={updates}", f"part_images={part}", "precision=float32"),
        *("data.augment.crop_px=32", "data.test.resize_px=36", "data.test.crop_px=32"),
        *("data.erasing={}", "model.drop_path=0.3", "clip_norm=0.5"),
        *('ema={"decay":0.8}', "true_averages=true"),
        "schedule.warmup_steps=2",
    ]
    return [
        *("train", "imagenet.resnet50-a1", "--data", photos, "--model", "cifar-resnet8"),
        *("--batch-size", 8, "--lr", "0.002", "--device", "cpu", "--compile", "off"),
        *(word for setting in settings for word in ("--set", setting)),
    ]


SHAPES = {"circle": (220, 60, 50), "square": (50, 90, 220)}


def small_resnet(width=8, classes=5):
    """A network for photos of some dozen pixels, four stages deep, as detectors need it."""
    return ResNetSpec(
        stem=StemSpec(kernel=3, width=width, stride=2, pool=True),
        block="basic",
        stages=tuple(StageSpec(blocks=1, width=width, stride=stride) for stride in (1, 2, 2, 2)),
        shortcut="B",
        classes=classes,
    )


def shapes_recipe(shorter_px, longest_px, updates):
    """A small detector's recipe for `shapes`, in float32, that begins with weights called "w"."""
    return DetectorRecipe(
        source="here",
        model=FasterRCNNSpec(
            backbone=small_resnet(), classes=2, anchors=AnchorSpec(scales_px=(48,))
        ),
        data=ScenesSpec(
            name="shapes", scaling=Scaling(shorter_px=shorter_px, longest_px=longest_px)
        ),
        learning=Learning(anchors=32, regions=16),
        optim=SgdSpec(learning_rate=0.02),
        schedule=Linear(warmup_steps=2),
        batch_images=2,
        total_steps=updates,
        transfer=Pretrained(weights="w"),
        precision="float32",
    )


def losses(run):
    """The losses of a run's journal, in its order."""
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def shapes(images, seed=0, width=192, height=160):
    """Files with one to three bright shapes on a dull ground, each of a class, and their boxes."""
    draw = np.random.default_rng(seed)
    contents, objects = [], []
    for _ in range(images):
        ground = draw.integers(90, 130, (height // 8, width // 8, 3), dtype=np.uint8)
        picture = Image.fromarray(ground).resize((width, height))
        pen, boxes, classes = ImageDraw.Draw(picture), [], []
        for place in draw.permutation(3)[: draw.integers(1, 4)]:  # a third of the width each
            side = int(draw.integers(36, 60))
            left = int(place * width / 3 + draw.integers(0, width // 3 - side + 1))
            top = int(draw.integers(0, height - side))
            label = int(draw.integers(2))
            box = (left, top, left + side, top + side)
            drawn = pen.ellipse if label == 0 else pen.rectangle
            drawn((*box[:2], box[2] - 1, box[3] - 1), tuple(SHAPES.values())[label])
            boxes.append(box)
            classes.append(label)
        contents.append(saved(picture, "PNG"))
        rows = ((*box, label) for box, label in zip(boxes, classes, strict=True))
        objects.append(scenes.objects(*rows))
    names = tuple(f"{number}.png" for number in range(images))
    return AnnotatedFiles(names, names, tuple(objects), contents.__getitem__)


def write_voc(folder, lists, objects=None, size=(60, 40)):
    """Write a year of VOC: pictures, the names that each list has, and the objects of some.

    Args:
        folder: Its folder.
        lists: Names by list, "train" and so on.
        objects: By image: (class, (xmin, ymin, xmax, ymax), difficult) rows, or the XML itself;
            what is left out has no annotation. By default none has objects.
        size: Of each picture.
    """
    names = sorted({name for some in lists.values() for name in some})
    given = dict.fromkeys(names, ()) if objects is None else objects
    for inside in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / inside).mkdir(parents=True)
    for seed, name in enumerate(names):
        (folder / f"JPEGImages/{name}.jpg").write_bytes(jpeg(seed, *size))
        if name in given:
            told = given[name] if isinstance(given[name], bytes) else voc_xml(given[name], size)
            (folder / f"Annotations/{name}.xml").write_bytes(told)
    for split, some in lists.items():
        (folder / f"ImageSets/Main/{split}.txt").write_text("".join(f"{n}\n" for n in some))
    return folder


def voc_xml(objects, size=(60, 40)):
    sides = ("xmin", "ymin", "xmax", "ymax")
    inside = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>"
        + "".join(f"<{side}>{at}</{side}>" for side, at in zip(sides, box, strict=True))
        + "</bndbox></object>"
        for name, box, difficult in objects
    )
    width, height = size
    sized = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>{sized}{inside}</annotation>".encode()


def write_coco(folder, splits, categories=((1, "cat"), (3, "dog")), size=(60, 40)):
    """Write COCO's layout: annotations/instances_SPLIT.json beside SPLIT/.

    Args:
        folder: Its folder.
        splits: By name, how many images, and annotations as {"image_id": 1, "bbox": ...}; ids of
            images begin with 1, and category_id is 1 where none is given.
    """
    (folder / "annotations").mkdir(parents=True)
    for split, (images, annotations) in splits.items():
        (folder / split).mkdir()
        for i in range(images):
            (folder / split / f"{i}.jpg").write_bytes(jpeg(i, *size))
        tree = coco_tree(images, annotations, categories, size)
        (folder / f"annotations/instances_{split}.json").write_text(json.dumps(tree))
    return folder


def coco_tree(images, annotations, categories=((1, "cat"), (3, "dog")), size=(60, 40)):
    width, height = size
    return {
        "info": {"description": "made up"},
        "images": [
            {"id": i + 1, "file_name": f"{i}.jpg", "width": width, "height": height}
            for i in range(images)
        ],
        "annotations": [
            {"id": i, "category_id": 1, "iscrowd": 0, "segmentation": [[1, 2, 3, 4]], **each}
            for i, each in enumerate(annotations)
        ],
        "categories": [{"id": number, "name": name} for number, name in categories],
    }


def write_yolo(folder, labels, classes=("cat", "dog"), size=(60, 40)):
    """Write YOLO's layout: pictures, label files, classes.txt.

    Args:
        folder: Its folder.
        labels: By image, "train/a" and so on, the text of its label file; None for none.
        classes: Names for classes.txt; None for none.
    """
    for seed, (name, text) in enumerate(labels.items()):
        for inside, suffix, content in (
            ("images", "jpg", jpeg(seed, *size)),
            ("labels", "txt", None if text is None else text.encode()),
        ):
            path = folder / inside / f"{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                path.write_bytes(content)
    if classes is not None:
        (folder / "classes.txt").write_text("\n".join(classes))
    return folder


def write_clsloc(folder, splits, classes=tuple(SHAPES), size=(96, 80)):
    """Write ILSVRC's layout: photos of one bright shape each, a circle or a square in turn.

    Args:
        folder: Its folder.
        splits: How many images each has, "train" and "val"; those of both are the same.
        classes: What the folders and the annotations call the two.
        size: Of each picture.
    """
    width, height = size
    for split, images in splits.items():
        for i in range(images):
            draw, label = np.random.default_rng(i), i % 2
            ground = draw.integers(90, 130, (height // 8, width // 8, 3), dtype=np.uint8)
            picture = Image.fromarray(ground).resize(size)
            side = int(draw.integers(height // 3, height // 2))
            left, top = (int(draw.integers(0, whole - side)) for whole in size)
            box = (left, top, left + side - 1, top + side - 1)  # both corners are inside
            pen = ImageDraw.Draw(picture)
            (pen.ellipse, pen.rectangle)[label](box, tuple(SHAPES.values())[label])
            name = f"{classes[label]}/{classes[label]}_{i}" if split == "train" else f"{split}_{i}"
            image = folder / f"Data/CLS-LOC/{split}/{name}.JPEG"
            told = folder / f"Annotations/CLS-LOC/{split}/{name}.xml"
            for path, content in (
                (image, saved(picture, quality=95)),
                (told, voc_xml([(classes[label], box, 0)], size)),
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    return folder
