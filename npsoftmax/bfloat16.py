"""Arrays of bfloat16, by their bits: NumPy has no such type, and CuPy only since version 14, with another package."""

from __future__ import annotations

from typing import Any

import numpy as np


class BFloat16:
    """Numbers with 7 bits after the point and float32's exponents: its upper halves, as `bits`, an array of uint16.

    They can be cut, turned and reshaped, and `astype` makes real numbers of them. There is no arithmetic: what does not
    know them stops with a TypeError, and computes nothing with their bits. dtype: that of what is computed from them.
    """

    __slots__ = ("bits",)
    __array_ufunc__ = None
    dtype, itemsize = np.dtype(np.float32), 2

    def __init__(self, bits: Any):
        self.bits = bits

    shape = property(lambda self: self.bits.shape)
    ndim = property(lambda self: self.bits.ndim)
    size = property(lambda self: self.bits.size)
    nbytes = property(lambda self: self.bits.nbytes)
    strides = property(lambda self: self.bits.strides)
    flags = property(lambda self: self.bits.flags)
    data = property(lambda self: self.bits.data)
    T = property(lambda self: BFloat16(self.bits.T))

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, key: Any) -> BFloat16:
        return BFloat16(self.bits[key])

    def reshape(self, *shape: Any) -> BFloat16:
        return BFloat16(self.bits.reshape(*shape))

    def transpose(self, *axes: Any) -> BFloat16:
        return BFloat16(self.bits.transpose(*axes))

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """The same numbers in float32 or float64: always a new array."""
        return (self.bits.astype(np.uint32) << 16).view(np.float32).astype(dtype, copy=False)

    def get(self) -> np.ndarray:
        """As float32, in host memory."""
        return self.astype(np.float32).get()

    def __repr__(self) -> str:
        return f"BFloat16{self.shape}"
