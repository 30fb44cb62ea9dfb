"""What several tests make: small images, ImageNet's archives, networks as training leaves them."""

import io
import tarfile

import numpy as np
import torch
from PIL import Image
from torch import nn

from resnets.data import imagenet, imagenet_classes
from resnets.models.network import ResNet, he_init

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
