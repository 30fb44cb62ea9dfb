"""Randomness as a function of its cause, so a run can stop and resume with nothing to restore.

Two forms of one idea. `generator` seeds a torch stream for things drawn in one go (an initial
weight, the order of an epoch). `integers`, `uniforms`, `normals` and `betas` hash each image's own
index, so that a choice for one image is the same in whatever batch, process or worker it is made.
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


def seed_layers(seed: int, number: int, part: int) -> None:
    """Make what layers draw at random (dropout) a function of the run's seed and where it is.

    Layers draw from torch's own generators, which this seeds: on the CPU and on every GPU.

    Args:
        seed: The run's seed.
        number: Of the update.
        part: Of the update's batch.
    """
    torch.manual_seed(_key(seed, "network", number, part))


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
    drawn: np.ndarray = (_bits(seed, *purpose, index_n=index_n) % np.uint64(below)).astype(np.int64)
    return drawn


def uniforms(seed: int, *purpose: int | str, index_n: np.ndarray) -> np.ndarray:
    """Return one number in [0, 1) for each index, fixed by (seed, purpose, index) alone.

    Multiples of 2**-32, so that the whole part of `u * n` is below n for every n up to 2**21.

    Returns:
        float64, shape (n,).
    """
    high = _bits(seed, *purpose, index_n=index_n) >> np.uint64(32)
    return high.astype(np.float64) * 2.0**-32


def normals(seed: int, *purpose: int | str, index_n: np.ndarray) -> np.ndarray:
    """Return one number of mean 0 and variance 1 for each index, fixed like those of `uniforms`.

    Returns:
        float64, shape (n,), within 6.7 of zero.

    Source: Box, Muller 1958.
    """
    radius = np.sqrt(-2 * np.log1p(-uniforms(seed, *purpose, "radius", index_n=index_n)))
    turn = uniforms(seed, *purpose, "turn", index_n=index_n)
    drawn: np.ndarray = radius * np.cos(2 * np.pi * turn)
    return drawn


def betas(seed: int, *purpose: int | str, index_n: np.ndarray, alpha: float) -> np.ndarray:
    """Return one number in [0, 1] from Beta(alpha, alpha) for each index, fixed like `uniforms`.

    Nothing is rejected: t of 2 alpha degrees of freedom is made as Box and Muller make a normal
    number, and (1 + t / sqrt(2 alpha + t**2)) / 2 has the beta distribution.

    Args:
        seed: The run's seed.
        purpose: What the numbers are for.
        index_n: Non-negative integers, shape (n,).
        alpha: Positive.

    Returns:
        float64, shape (n,).

    Source: Bailey 1994; Devroye 1996.
    """
    draws = -np.log1p(-uniforms(seed, *purpose, "radius", index_n=index_n))
    turn = np.cos(2 * np.pi * uniforms(seed, *purpose, "turn", index_n=index_n))
    # For a small alpha t**2 / (2 alpha) passes all bounds: then the number is 0 or 1.
    with np.errstate(over="ignore", divide="ignore"):
        squared = np.expm1(draws / alpha) * turn**2
        drawn: np.ndarray = (1 + np.sign(turn) / np.sqrt(1 + 1 / squared)) / 2
    return drawn


def _bits(seed: int, *purpose: int | str, index_n: np.ndarray) -> np.ndarray:
    x = index_n.astype(np.uint64) * _GOLDEN + np.uint64(_key(seed, *purpose))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    made: np.ndarray = x ^ (x >> np.uint64(31))
    return made


def _key(seed: int, *purpose: int | str) -> int:
    name = repr((seed, *purpose)).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=7).digest())
