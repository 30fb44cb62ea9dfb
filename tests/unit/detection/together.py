"""What several processes collect, for test_scoring.py: python together.py SIZE FOLDER

Forks SIZE processes, which connect as under torchrun and answer each its part of the images of
`split`. Each writes FOLDER/RANK.json: every number that one process has alone, and those that they
have together, going forwards and going backwards.
"""

import json
import sys
from dataclasses import astuple
from pathlib import Path

import torch

from forked import connected
from resnets.core import processes
from resnets.core.processes import ALONE
from resnets.core.random import generator
from resnets.data.annotated import Objects
from resnets.detection.detections import Detections
from resnets.detection.scoring import Scoring

IMAGES, CLASSES = 7, 3


def boxes(count, draw):
    corners = torch.randint(40, (count, 2), generator=draw).float()
    return torch.cat([corners, corners + torch.randint(5, 30, (count, 2), generator=draw)], dim=1)


def split():
    """Return the objects of each image, and what was found: scores with ties, one image empty."""
    there, said = [], []
    for index in range(IMAGES):
        draw = generator(0, "scene", index)
        n, m = (0, 0) if index == 4 else (1 + index % 3, 3 + index)
        no = torch.zeros(n, dtype=torch.bool)
        labels = torch.randint(CLASSES, (n,), generator=draw)
        own = boxes(n, draw)
        there.append(Objects(own, labels, no, no, (own[:, 2:] - own[:, :2]).prod(1)))
        scores = torch.randint(4, (n + m,), generator=draw) / 3
        guessed = torch.cat([labels, torch.randint(CLASSES, (m,), generator=draw)])
        said.append(Detections.of(torch.cat([own + 1, boxes(m, draw)]), scores, guessed))
    return there, said


def numbers(team, order):
    """Return everything that is measured when this process answers images in an order."""
    there, said = split()
    mine = Scoring(there, CLASSES)
    for index in order[team.rank :: team.size]:
        mine.add(index, said[index])
    every = mine.together(team)
    measured = [astuple(every.scores(protocol)) for protocol in ("voc2007", "voc2010", "coco")]
    curves = [
        (each.objects, each.scores_n.tolist(), each.right_n.tolist()) for each in every.curves()
    ]
    try:
        mine.together(team).together(team)
    except ValueError as err:
        return [measured, curves, str(err)]
    return [measured, curves, ""]


def main(size, folder):
    torch.set_num_threads(1)
    alone = numbers(ALONE, range(IMAGES))
    rank = connected(size)
    with processes.joined() as team:
        made = [
            alone,
            *(numbers(team, order) for order in (range(IMAGES), range(IMAGES - 1, -1, -1))),
        ]
        few = Scoring(split()[0][:1], CLASSES)
        if team.leads:
            few.add(0, Detections.none())  # no process has a detection, and one has no image
        made.append(len(few.together(team).found))
    (folder / f"{rank}.json").write_text(json.dumps(made))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
