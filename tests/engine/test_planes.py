"""Codes and planes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitstill.engine.planes import pack_codes, plane_bits, unpack_codes
from bitstill.topology import Layer


@given(bits=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_codes_come_back(bits: int, seed: int) -> None:
    numbers = np.random.default_rng(seed).integers(0, 2**bits, (16, 6, 3, 3))
    codes = (2 * numbers - (2**bits - 1)).astype(np.int16)
    planes = pack_codes(codes, bits=bits)
    assert planes.shape == (bits, 16 * 6 * 9 // 8)
    assert np.array_equal(unpack_codes(planes, Layer("", 6, 16, pool=False)), codes)


def test_two_planes_are_two_signs() -> None:
    # 3 w = 2 s1 + s0 with s = 2 p - 1.
    codes = np.array([-3, -1, 1, 3, 3, 1, -1, -3], np.int16).repeat(9).reshape(8, 1, 3, 3)
    low, high = plane_bits(pack_codes(codes, bits=2), Layer("", 1, 8, pool=False))
    assert high[:, 0, 0].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    assert low[:, 0, 0].tolist() == [0, 1, 0, 1, 1, 0, 1, 0]


@pytest.mark.parametrize("seed", range(3))
def test_the_popcount_formula(seed: int) -> None:
    generator = np.random.default_rng(seed)
    codes = (2 * generator.integers(0, 4, (8, 5, 3, 3)) - 3).astype(np.int16)
    x = generator.integers(0, 2, (9, 5))
    low, high = plane_bits(pack_codes(codes, bits=2), Layer("", 5, 8, pool=False))
    counted = 4 * (high & x).sum((1, 2)) + 2 * (low & x).sum((1, 2)) - 3 * x.sum()
    expected = (codes.transpose(0, 2, 3, 1).reshape(8, 9, 5).astype(int) * x).sum((1, 2))
    assert counted.tolist() == expected.tolist()
