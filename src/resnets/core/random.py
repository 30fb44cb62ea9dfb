"""Randomness as a function of its cause, so a run can stop and resume with nothing to restore.

Two forms of one idea. `generator` seeds a torch stream for things drawn in one go (an initial
weight, the order of an epoch). `integers` hashes each image's own index, so that a choice for one
image is the same in whatever batch, process or worker it is made.
"""

import hashlib

import numpy as np
import torch

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def generator(seed: int, *purpose: int | str) -> torch.Generator:
    """Return a CPU generator fixed by the run's seed and what the numbers are for.

    The same arguments give the same stream whatever ran before: `generator(seed, "order", epoch)`
    shuffles an epoch.
    """
    made = torch.Generator()
    made.manual_seed(_key(seed, *purpose))
    return made


def integers(seed: int, *purpose: int | str, index_n: np.ndarray, below: int) -> np.ndarray:
    """Return one integer in [0, below) for each index, fixed by (seed, purpose, index) alone.

    Args:
        seed: The run's seed.
        purpose: What the numbers are for, e.g. `"augment", epoch, "row"`.
        index_n: Non-negative integers, shape (n,); any order, repeats allowed.
        below: From 1 to 2**16. The bias of reducing 64 bits to so small a range is under 1e-14.

    Returns:
        int64, shape (n,).

    Source: Steele, Lea, Flood 2014, SplitMix64, here keyed by a hash of the purpose.
    """
    x = index_n.astype(np.uint64) * _GOLDEN + np.uint64(_key(seed, *purpose))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    drawn: np.ndarray = ((x ^ (x >> np.uint64(31))) % np.uint64(below)).astype(np.int64)
    return drawn


def _key(seed: int, *purpose: int | str) -> int:
    name = repr((seed, *purpose)).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=7).digest())
