"""What processes that share work compute, for test_sharing.py: python sharing.py SIZE FOLDER

Forks SIZE processes, which connect as under torchrun. Each writes FOLDER/RANK.pt, a dictionary of
what it found. In a folder of one process there is what one alone computes.
"""

import contextlib
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, nn

from forked import connected
from resnets.core import processes
from resnets.core.division import divide
from resnets.core.errors import DataError, ResNetsError
from resnets.core.processes import Poll
from resnets.data.files import ImageFiles
from resnets.data.setting_aside import SettingAside, tolerated
from resnets.models.blocks import DropPath
from resnets.training import averages, synchronised

IMAGES = 12


def inputs(dtype=torch.float32):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(IMAGES, 5, 4, 3, generator=draw) * 3 + torch.arange(5.0)[:, None, None]
    return x.to(dtype).to(memory_format=torch.channels_last)


def mine(values, team):
    return values.tensor_split(team.size)[team.rank]


def batch_norm(team, dtype=torch.float32, momentum=0.1):
    """Two steps of BN in a network; everything it leaves, and the gradients of all processes."""
    torch.manual_seed(1)
    conv = nn.Conv2d(5, 6, 1, bias=False)
    model = nn.Sequential(conv, nn.BatchNorm2d(6, momentum=momentum), nn.ReLU())
    nn.init.uniform_(model[1].weight)
    nn.init.uniform_(model[1].bias)
    synchronised.synchronise(model, team)
    found = {}
    for step in range(2):
        x = mine(inputs() * (step + 1), team).detach().requires_grad_()
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            y = model(x)
        (y.float().square() * torch.arange(6.0)[:, None, None]).sum().backward()
        found |= {f"y{step}": y.detach(), f"x{step}": x.grad}
    gradients = [p.grad for p in model.parameters()]
    team.sum_(gradients)
    found |= {f"gradient{i}": gradient for i, gradient in enumerate(gradients)}
    found |= {name: tensor.detach() for name, tensor in model.state_dict().items()}
    found["predicted"] = model.eval()(mine(inputs(), team)).detach()
    return found


def dropping(layer, shape, team):
    model = nn.Sequential(layer)
    synchronised.synchronise(model, team)
    torch.manual_seed(3)
    ones = torch.ones(IMAGES, *shape)
    return mine(ones, team), model(mine(ones, team)), model.eval()(mine(ones, team))


def true_averages(team):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(5, 6, 1), nn.BatchNorm2d(6))
    synchronised.synchronise(model, team)
    shares = [mine(inputs() * s, team) for s in (1, 2)]
    averages.replace_moving_averages(model, shares, divide(IMAGES, None, team))
    return {name: tensor for name, tensor in model[1].state_dict().items() if tensor.ndim < 2}


def led(team):
    def fail():
        raise DataError("a bad image")

    done = []
    value = team.led(lambda: done.append(1) or {"a": [1, 2.5, None]})
    try:
        team.led(fail)
    except ResNetsError as err:
        return value, done, str(err), err.exit_status
    return None


def setting_aside(team):
    """What is known to be set aside after sharing, twice, and what too much of it says."""
    aside = SettingAside(ImageFiles(tuple(map(str, range(40))), torch.arange(40), bytes))
    aside.restore({39: "long ago"})
    told = []
    for bad in ([0, 2 + team.rank], [1, 9 + team.rank] if team.leads else []):
        aside.count(dict.fromkeys(bad, f"by {team.rank}"))
        aside.share(team)
        told.append(aside.found())
    first, room = 10 + 5 * team.rank, tolerated(40) - len(aside.found())
    aside.count(dict.fromkeys(range(first, first + room), "more"))
    try:
        aside.share(team)
    except DataError as err:
        return told, str(err), err.everywhere
    return told, "", False


def poll(team):
    """Rank 1 wishes at its second call, rank 0 at its third; they reach their calls apart."""
    ask, heard = Poll(team), []
    for call in range(5):
        time.sleep(0.02 * team.rank)
        heard.append(ask(15 * (team.rank == 1 and call == 1), int(team.leads and call == 2)))
    return heard


def waiting(team):
    """The leader works for longer than sums are waited for."""
    with giving_up_after(timedelta(seconds=0.5)):
        return team.led(lambda: time.sleep(1) or "done")


@contextlib.contextmanager
def giving_up_after(timeout):
    """Let what processes compute together be waited for so long, and not for half an hour."""
    if not distributed.is_initialized():
        yield
        return
    distributed.distributed_c10d._set_pg_timeout(timeout)
    yield
    distributed.distributed_c10d._set_pg_timeout(distributed.constants.default_pg_timeout)


def compute(team):
    draw = torch.Generator().manual_seed(team.rank)
    numbers = [torch.randn(3, 4, 2, 2, generator=draw), torch.randn(1, generator=draw)[0]]
    numbers[0] = numbers[0].to(memory_format=torch.channels_last)
    summed = [number.clone(memory_format=torch.preserve_format) for number in numbers]
    team.sum_(summed)
    pair = team.divided(2) if team.size == 4 else team
    return {
        "numbers": numbers,
        "summed": summed,
        "gathered": team.gather(torch.tensor([team.rank])).tolist(),
        "integers": team.sum_integers([2**53 + 1, team.rank]),
        "pair": (pair.rank, pair.size, pair.sum_integers([team.rank])),
        "pair led": pair.led(lambda: team.rank),
        "waiting": waiting(team),
        "led": led(team),
        "tensors": team.share_tensors(
            {"a": torch.arange(3), "b": torch.tensor(1.5)} if team.leads else None
        ),
        "values": team.gather_values({"rank": "é" * team.rank}),
        "aside": setting_aside(team),
        "poll": poll(team) if team.size > 1 else None,
        "batch norm": batch_norm(team),
        "batch norm, bfloat16": batch_norm(team, torch.bfloat16),
        "batch norm, plain average": batch_norm(team, momentum=None),
        "dropout": dropping(nn.Dropout(0.4), (6,), team),
        "drop path": dropping(DropPath(0.4), (2, 3, 3), team),
        "true averages": true_averages(team),
    }


def main(size, folder):
    torch.set_num_threads(1)
    rank = connected(size)
    with processes.joined() as team:
        torch.save(compute(team), folder / f"{rank}.pt")
    for _ in range(2):  # and again in the same process
        with processes.joined() as team:
            assert team.sum_integers([1]) == [size]


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
