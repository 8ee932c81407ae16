"""Noise keyed by (seed, data set index, stream, block): the same whoever draws it, and when.

Draws come in blocks of `BLOCK`. Block b of an image's stream is a function of the key alone: never
of batch size, worker, rank, order, or of what was drawn before (THEORY section 0). Two backends:

- `numpy-philox` (CPU): the counter-based Philox generator. Stream and image make its key of two
  64-bit words, the block is a word of its counter, so blocks cannot overlap. (Where one word alone
  is above 2^63 numpy takes both through float64, which leaves 53 bits of each: records rest on
  it.) The numbers do not depend on the CPU, but numpy may change them in a future release. torch's
  CPU generator is not used: it keeps 32 bits of its seed, so among 1,563 blocks of one image two
  would coincide with probability 3e-4, and coinciding blocks are not independent draws.
- `cuda-philox` (GPU): torch's generator on the device, seeded with 64 bits of the key; the block
  is its offset. The numbers can differ between GPU models.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK: Final = 128
"""Draws of a block; part of what a certificate's counts depend on."""

Stream = Literal[
    "selection",
    "estimation",
    "prediction",
    "validation selection",
    "validation estimation",
    "picture",
    "attack",
    "attack ranking",
    "attack verdict",
    "error size",
    "error",
    "outer selection",
    "inner selection",
    "outer",
    "inner",
]
"""What draws are for; those of different streams are independent.

Validation has streams of its own: a model that was chosen by them is certified on others.
"""

_OFFSET_SHIFT = 32
"""CUDA offsets reserved for one block, in bits; a block of 2**32 numbers a thread would fit."""


@dataclass(frozen=True)
class NoiseKey:
    """Names one image's stream of draws.

    Attributes:
        seed: the user's seed.
        index: the image's index in its data set.
        stream: what the draws are for.
        part: number of one of several streams for the same purpose.
    """

    seed: int
    index: int
    stream: Stream
    part: int = 0

    def words(self) -> tuple[int, int]:
        """Two 64-bit words that depend on all of the key.

        >>> NoiseKey(0, 7, "selection").words() == NoiseKey(0, 7, "estimation").words()
        False
        """
        part = f"/{self.part}" if self.part else ""
        text = f"lightning_smooth/{self.seed}/{self.index}/{self.stream}{part}".encode()
        digest = hashlib.blake2b(text, digest_size=16).digest()
        return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def backend(device: torch.device) -> str:
    """Name of the generator that draws on `device`; it stands in every certificate."""
    return "cuda-philox" if device.type == "cuda" else "numpy-philox"


def standard_normal(
    key: NoiseKey,
    block: int,
    shape: tuple[int, int, int],
    device: torch.device,
    *,
    draws: int = BLOCK,
) -> Tensor:
    """Draw one block of standard normal images, or its first draws.

    Args:
        key: whose draws.
        block: number of the block, from 0.
        shape: (C, H, W) of the image.
        device: where the draws are wanted; it selects the backend.
        draws: how many are needed, 1..BLOCK.

    Returns:
        (draws, C, H, W) float32 with the channels last in memory (the order in which the numbers
        are drawn, and the faster one for convolutions). On a GPU, where the numbers of a block
        depend on its size, always the whole block.
    """
    channels, height, width = shape
    first, second = key.words()
    if backend(device) == "cuda-philox":
        size = (BLOCK, height, width, channels)
        generator = torch.Generator(device).manual_seed(first)
        generator.set_offset(block << _OFFSET_SHIFT)
        noise = torch.empty(size, dtype=torch.float32, device=device)
        noise.normal_(generator=generator)
    else:
        size = (draws, height, width, channels)
        philox = np.random.Philox(key=[first, second], counter=[0, 0, block, 0])
        drawn = np.random.Generator(philox).standard_normal(size, dtype=np.float32)
        noise = torch.from_numpy(drawn).to(device)
    return noise.permute(0, 3, 1, 2)


def standard_uniform(
    key: NoiseKey,
    block: int,
    shape: tuple[int, int, int],
    device: torch.device,
    *,
    draws: int = BLOCK,
) -> Tensor:
    """Draw one block of images uniform on [0, 1), or its first draws.

    Args:
        key: whose draws.
        block: number of the block, from 0.
        shape: (C, H, W) of the image.
        device: where the draws are wanted; it selects the backend.
        draws: how many are needed, 1..BLOCK.

    Returns:
        (draws, C, H, W) float32, multiples of 2^-24, laid out as by `standard_normal`.
    """
    channels, height, width = shape
    first, second = key.words()
    if backend(device) == "cuda-philox":
        generator = torch.Generator(device).manual_seed(first)
        generator.set_offset(block << _OFFSET_SHIFT)
        noise = torch.empty((BLOCK, height, width, channels), dtype=torch.float32, device=device)
        noise.uniform_(generator=generator)
    else:
        philox = np.random.Philox(key=[first, second], counter=[0, 0, block, 0])
        size = (draws, height, width, channels)
        drawn = np.random.Generator(philox).random(size, dtype=np.float32)
        noise = torch.from_numpy(drawn).to(device)
    return noise.permute(0, 3, 1, 2)


def random_words(
    key: NoiseKey, block: int, shape: tuple[int, int, int], *, draws: int = BLOCK
) -> NDArray[np.uint64]:
    """Draw one block of independent 64-bit integers, or its first draws.

    They come from `numpy-philox` whatever the device: exact laws are the same everywhere.

    Args:
        key: whose draws.
        block: number of the block, from 0.
        shape: (C, H, W) of the image.
        draws: how many are needed, 1..BLOCK.

    Returns:
        (draws, H, W, C) uint64, uniform over all their values: the generator's own words.
    """
    channels, height, width = shape
    first, second = key.words()
    philox = np.random.Philox(key=[first, second], counter=[0, 0, block, 0])
    return philox.random_raw((draws, height, width, channels))


def generator_of(key: NoiseKey) -> np.random.Generator:
    """A stream of numbers that the key decides, for draws in no fixed number."""
    return np.random.Generator(np.random.Philox(key=list(key.words())))


def training_seed(base: int, rank: int, step: int) -> int:
    """Seed of the training noise of one rank's step, 63 bits, so that no two ranks share noise.

    Under DDP `seed_everything` gives every rank the same generator state, so the global one
    would give every rank the same noise.
    """
    text = f"lightning_smooth/training/{base}/{rank}/{step}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1
