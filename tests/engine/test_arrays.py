from __future__ import annotations

import io

import numpy as np
import pytest

from mofang.engine.arrays import arrays_digest, from_npy, to_npy


@pytest.mark.parametrize(
    "array",
    [np.arange(6).reshape(2, 3), np.zeros((0, 4), np.float32), np.array(3.5), np.arange(4, dtype=np.uint64)],
)
def test_an_array_survives_its_bytes(array: np.ndarray) -> None:
    back = from_npy(to_npy(array))
    assert back.dtype == array.dtype and back.shape == array.shape and (back == array).all()


def test_a_header_that_promises_more_than_there_is_allocates_nothing() -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    with pytest.raises(ValueError, match="promises"):
        from_npy(stream.getvalue() + b"1234")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x93NUMPY\x02\x00" + bytes(40)])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        from_npy(data)


def test_pickled_objects_are_refused() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        from_npy(stream.getvalue())


def test_the_digest_sees_every_bit_name_shape_and_type() -> None:
    base = {"a": np.zeros(4, np.float32), "b": np.arange(4)}
    others = [
        {"a": base["a"], "c": base["b"]},
        {"a": -base["a"], "b": base["b"]},
        {"a": base["a"].reshape(2, 2), "b": base["b"]},
        {"a": base["a"], "b": base["b"].astype(np.int32)},
    ]
    digests = {arrays_digest(each) for each in [base, *others]}
    assert len(digests) == 5
    assert arrays_digest(dict(reversed(base.items()))) == arrays_digest(base)
    assert arrays_digest({"x": np.arange(4, dtype=">i8")}) == arrays_digest({"x": np.arange(4, dtype="<i8")})
