"""Counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011, "Parallel random numbers: as easy as 1, 2, 3").

Design: a draw is a pure function of a key (seed, path of the layer) and a counter (step, global sample index, element).
There is no state to save or to share: a resumed run, a GPU run and a run sharded over ranks draw the same noise.
Numbers are made from 23 bits, so that float32 and float64 see the same values, all strictly inside (0, 1).
"""

from __future__ import annotations

import hashlib
import math
from numbers import Integral
from operator import index
from typing import Any

import numpy as np

from npsoftmax.backend import Array
from npsoftmax.cuda import MOST_ITEMS, compiled_for
from npsoftmax.errors import InputError, as_number

MULTIPLIER = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
MASK32 = 0xFFFFFFFF


def philox4x32(counter: tuple[Array, Array, Array, Array], key: tuple[int, int], xp: Any = np) -> Array:
    """Ten Philox rounds. counter: four broadcastable uint64 arrays below 2**32 -> uint32 (..., 4)."""
    c0, c1, c2, c3 = xp.broadcast_arrays(*counter)
    k0, k1 = key
    mask, shift = xp.uint64(MASK32), xp.uint64(32)
    for _ in range(ROUNDS):
        product0, product1 = c0 * xp.uint64(MULTIPLIER[0]), c2 * xp.uint64(MULTIPLIER[1])
        c0, c1, c2, c3 = (
            (product1 >> shift) ^ c1 ^ xp.uint64(k0),
            product1 & mask,
            (product0 >> shift) ^ c3 ^ xp.uint64(k1),
            product0 & mask,
        )
        k0, k1 = (k0 + WEYL[0]) & MASK32, (k1 + WEYL[1]) & MASK32
    return xp.stack([c0, c1, c2, c3], axis=-1).astype(xp.uint32)


class Rng:
    """A place in the stream of noise: the seed, the path of the layer that draws, the step and the samples.

    `child(name)` goes down the path, `at(step, samples)` to the samples of a step; neither changes this one.
    In every draw the first axis is the sample axis: row i is the noise of global sample `samples[i]`.
    """

    def __init__(self, seed: int, path: str = "", step: Any = 0, samples: Array | None = None):
        if type(seed) is not int and (not isinstance(seed, Integral) or isinstance(seed, bool)):
            raise InputError(f"the seed is {seed!r:.60}, but a whole number was expected, such as 0.")
        self.seed, self.path, self.step, self.samples = seed, path, step, samples

    def child(self, name: str) -> Rng:
        return Rng(self.seed, f"{self.path}.{name}" if self.path else name, self.step, self.samples)

    def at(self, step: Any, samples: Array | None = None) -> Rng:
        """The noise of step number `step`, or of that which stands on a device in an array, uint64 (1,)."""
        if is_place(step):
            return Rng(self.seed, self.path, step, samples)
        if (type(step) is not int and not isinstance(step, Integral)) or not 0 <= int(step) < 2**64:
            raise InputError(f"the step is {step!r:.60}, but a whole number of at least 0 was expected.")
        return Rng(self.seed, self.path, step, samples)

    def bits(self, shape: tuple[int, ...], xp: Any = np) -> Array:
        """Uniform uint32 of `shape`; element e of sample s is word e % 4 of block (e // 4, s, step)."""
        shape = _sizes(shape)
        n, elements = shape[0], math.prod(shape[1:])
        blocks = -(-elements // 4)
        samples = self._samples(n, xp)
        if hasattr(xp, "RawModule") and 0 < n * elements <= MOST_ITEMS:  # the same bits in one pass
            words = xp.empty(shape, dtype=xp.uint32)
            key = (np.uint32(word) for word in self._key())
            gpu = compiled_for(xp, "philox", "f")
            step = (self.step, np.uint64(0)) if is_place(self.step) else (None, np.uint64(self.step))
            gpu.each("philox", n * blocks, samples, words, *step, *key, elements, blocks)
            return words
        samples = samples[:, None]  # (N, 1)
        counter = (
            xp.arange(blocks, dtype=xp.uint64)[None],
            samples & xp.uint64(MASK32),
            samples >> xp.uint64(32),
            xp.full((1, 1), self.step, dtype=xp.uint64),
        )
        words = philox4x32(counter, self._key(), xp)  # (N, blocks, 4)
        return words.reshape(n, blocks * 4)[:, :elements].reshape(shape)

    def uniform(self, shape: tuple[int, ...], dtype: Any = np.float32, xp: Any = np) -> Array:
        """Uniform in (0, 1), both ends excluded."""
        kind = np.dtype(dtype)
        if kind.kind != "f":
            raise InputError(
                f"noise of {kind} was asked for, but real numbers were expected; type for example np.float32."
            )
        if kind.itemsize == 2:  # half precision would round 23 bits up to 1
            return xp.minimum(self.uniform(shape, np.float32, xp), xp.float32(1 - 2.0**-11)).astype(dtype)
        top = (self.bits(shape, xp) >> xp.uint32(9)).astype(dtype)
        return (top + kind.type(0.5)) * kind.type(2.0**-23)  # numbers of the host: an array would be copied to a device

    def fine_uniform(self, n: int, xp: Any = np) -> Array:
        """n uniform numbers of this step, float64 in (0, 1], of 64 random bits each; the same for any samples.

        The 23 bits of `uniform` would never choose some of a million classes.
        """
        bits = self.at(self.step).bits((1, 2 * n), xp)[0].astype(xp.float64)
        return (bits[::2] * 2.0**32 + bits[1::2] + 0.5) * 2.0**-64

    def normal(self, shape: tuple[int, ...], dtype: Any = np.float32, xp: Any = np) -> Array:
        """Standard normal, by Box and Muller (1958) from two uniforms an element."""
        u = self.uniform((*_sizes(shape), 2), _wide(dtype), xp)
        return (xp.sqrt(-2 * xp.log(u[..., 0])) * xp.cos(2 * math.pi * u[..., 1])).astype(dtype, copy=False)

    def gumbel(self, shape: tuple[int, ...], dtype: Any = np.float32, xp: Any = np) -> Array:
        """Standard Gumbel, -log(-log u); finite, since u excludes 0 and 1."""
        return (-xp.log(-xp.log(self.uniform(shape, _wide(dtype), xp)))).astype(dtype, copy=False)

    def keep_mask(self, shape: tuple[int, ...], keep: float, xp: Any = np) -> Array:
        """Booleans, each true with probability `keep`."""
        if not 0 <= as_number(keep) <= 1:
            raise InputError(f"keep is {keep!r:.60}, but a probability from 0 to 1 was expected.")
        return self.uniform(shape, xp.float32, xp) < keep

    def integers(self, low: int, high: int, shape: tuple[int, ...], xp: Any = np) -> Array:
        """Whole numbers in [low, high), from all 32 bits: 23 would leave a range of millions visibly uneven."""
        if not 0 < high - low <= 2**32:
            raise InputError(f"whole numbers from {low} to below {high} were asked for, but 1 to 2**32 of them can be.")
        scaled = self.bits(shape, xp).astype(xp.uint64) * xp.uint64(high - low)
        return low + (scaled >> xp.uint64(32)).astype(xp.int64)

    def permutation(self, n: int) -> np.ndarray:
        """A random order of 0 … n-1 (64-bit sort keys; a tie, of probability n**2 / 2**65, keeps the order)."""
        words = self.at(self.step).bits((n, 2)).astype(np.uint64)
        return np.argsort(words[:, 0] << np.uint64(32) | words[:, 1], kind="stable")

    def _samples(self, n: int, xp: Any) -> Array:
        if self.samples is None:
            return xp.arange(n, dtype=xp.uint64)
        if len(self.samples) != n:
            raise InputError(f"noise for {n} samples was asked for, but this step has {len(self.samples)}.")
        samples = xp.asarray(self.samples)
        if samples.dtype.kind not in "iu":
            raise InputError(f"the numbers of the samples are {samples.dtype}, but whole numbers were expected.")
        return samples.astype(xp.uint64, copy=False)

    def _key(self) -> tuple[int, int]:
        digest = hashlib.blake2b(f"{self.seed}:{self.path}".encode(), digest_size=8).digest()
        return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def is_place(step: Any) -> bool:
    """Whether a step is not its number but where a device finds it: uint64 (1,) there."""
    return not isinstance(step, int | np.generic | np.ndarray) and getattr(step, "dtype", None) == np.uint64


def check_rng(rng: Any, *, optional: bool = False) -> None:
    """InputError unless `rng` is an Rng (or None, where it is optional): says what to type."""
    if isinstance(rng, Rng) or (optional and rng is None):
        return
    seed = rng if isinstance(rng, Integral) and not isinstance(rng, bool) else 0
    raise InputError(f"rng is {rng!r:.60}, but noise is drawn from an npsoftmax.Rng: type rng=Rng({seed}).")


def _sizes(shape: Any) -> tuple[int, ...]:
    """The shape of a draw; InputError for another one."""
    try:
        sizes = tuple(index(size) for size in shape)
    except TypeError:
        sizes = ()
    if not sizes or min(sizes) < 0:
        raise InputError(f"noise of shape {shape!r:.60} was asked for, but (samples, …) was expected, such as (3,).")
    return sizes


def _wide(dtype: Any) -> Any:
    """The type that noise is made in: half precision is rounded to at the end, so that logarithms stay finite."""
    return np.float32 if np.dtype(dtype) == np.float16 else dtype
