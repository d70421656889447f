"""Arrays as bytes: plain .npy files without pickle, and one digest over named arrays."""

from __future__ import annotations

import hashlib
import io
import tokenize
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]


def to_npy(array: Array) -> bytes:
    """Write one array as the bytes of a .npy file (NEP 1), never pickled."""
    stream = io.BytesIO()
    np.save(stream, array if array.flags.c_contiguous else array.copy("C"), allow_pickle=False)
    return stream.getvalue()


def from_npy(data: bytes) -> Array:
    """Read the bytes of a .npy file without copying them.

    The size in the header is checked against the bytes present before anything is allocated, so a
    forged header cannot ask for memory. Raises ValueError for anything that is not such a file.
    """
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"a .npy file of version {version}, only (1, 0) is read")
    try:
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except (tokenize.TokenError, SyntaxError) as error:  # numpy reads a broken header as Python 2 would write it
        raise ValueError(f"the .npy header cannot be read: {error}") from error
    if dtype.hasobject or fortran:
        raise ValueError("a .npy file of Python objects or in Fortran order is not read")
    body = memoryview(data)[stream.tell():]
    expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(body) != expected:
        raise ValueError(f"the .npy header promises {expected} bytes, {len(body)} follow")
    return np.frombuffer(body, dtype=dtype).reshape(shape)


def arrays_digest(arrays: Mapping[str, Array]) -> str:
    """Digest named arrays: SHA-256 over names, dtypes, shapes and bytes, in order of name.

    Two sets of arrays have the same digest exactly when they are bit-equal, which is what the parity
    contract between training and serving asks.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
