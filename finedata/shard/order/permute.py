"""Keyed permutations of range(n): a shuffle that is a function, with no table behind it.

A Feistel network over the smallest 2^a x 2^b rectangle that holds n, walked along its cycle until
the value falls below n (Black and Rogaway, Ciphers with arbitrary finite domains, CT-RSA 2002).
The rectangle is less than twice as large as n, so fewer than two walks are needed on average.
Position of any element costs the same whatever n is, and nothing is remembered: that is what
makes the order of a billion samples free of memory, of ranks and of workers.

Eight rounds of a 64-bit mixer (the finaliser of SplitMix64). This is a shuffle, not encryption.
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import numpy as np

__all__ = ["Key", "derive_key", "permute", "uniform"]

Key: TypeAlias = int
_ROUNDS = 8
_MASK = (1 << 64) - 1


def derive_key(*parts: str | int) -> Key:
    """A 64-bit key that depends on every part; ("ab", "c") and ("a", "bc") differ.

    SHA-256 over the parts, each with its kind and length in front, so that seed + epoch and
    epoch + seed can never meet.
    """
    digest = hashlib.sha256()
    for part in parts:
        text = str(part).encode()
        digest.update(f"{type(part).__name__}{len(text)}:".encode() + text)
    return int.from_bytes(digest.digest()[:8], "little")


def permute(index: np.ndarray | int, *, size: int, key: Key) -> np.ndarray:
    """Where a shuffle of range(size) puts each index: a bijection of range(size).

    Args:
        index: Whole numbers in [0, size), of any shape.
        size: How many elements there are, at least one.
        key: Which shuffle; see `derive_key`.

    Returns:
        int64 of the shape of `index`, each in [0, size).
    """
    values = np.array(index, np.uint64, ndmin=1)
    low_bits, high_bits = _bits(size)
    if low_bits + high_bits == 0:
        return np.zeros(np.shape(index), np.int64)
    keys = [np.uint64(_mix_int(key + r * 0x9E3779B97F4A7C15)) for r in range(_ROUNDS)]
    result = _walk(values, low_bits, high_bits, keys)
    outside = np.flatnonzero(result >= size)
    while len(outside):
        result[outside] = _walk(result[outside], low_bits, high_bits, keys)
        outside = outside[result[outside] >= size]
    return result.astype(np.int64).reshape(np.shape(index))


def uniform(index: np.ndarray, *, key: Key) -> np.ndarray:
    """Random whole numbers that depend on a counter and a key: (n,) uint64 of (n,) int64."""
    start = np.asarray(index, np.int64).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return _mix(_mix(start ^ np.uint64(key)) + np.uint64(key))


def _bits(size: int) -> tuple[int, int]:
    bits = max(size - 1, 0).bit_length()
    return bits // 2, bits - bits // 2


def _walk(values: np.ndarray, low_bits: int, high_bits: int, keys: list[np.uint64]) -> np.ndarray:
    # Unequal halves exchange their roles each round, so no bit stays where it was.
    for key in keys:
        low = values & np.uint64((1 << low_bits) - 1)
        high = values >> np.uint64(low_bits)
        high ^= _mix(low ^ key) & np.uint64((1 << high_bits) - 1)
        values = (low << np.uint64(high_bits)) | high
        low_bits, high_bits = high_bits, low_bits
    return values


def _mix(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _mix_int(value: int) -> int:
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
