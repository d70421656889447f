"""Weights in blocks of four or eight bits, as ONNX Runtime's ``MatMulNBits`` and ``GatherBlockQuantized`` read them.

Each block of ``BLOCK`` weights of one output has a scale and a zero point. Where a sample of what flows in is known, a weight
is rounded with an eye on those before it (GPTQ, Frantar et al. 2022): the error that rounding one weight makes is taken up by
the weights that are not rounded yet, as far as the inputs go together. Without a sample each weight is rounded to the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mofang.engine.arrays import Array

BLOCK = 32
SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8)  # of a block's range: a tighter one rounds the many better and cuts the few
DAMPING = 0.01


@dataclass(frozen=True)
class Blocks:
    """Codes uint8 [N, blocks, BLOCK x bits / 8], scales float32 [N, blocks], zero points packed uint8 [N, bytes]."""

    bits: int
    codes: Array
    scales: Array
    zeros: Array


def blocks_of(weights: Array, bits: int, hessian: Array | None = None) -> Blocks:
    """Weights float32 [N, K] in blocks along K; ``hessian`` float [K, K] is the sum of x xᵀ over sample inputs."""
    outputs, inputs = weights.shape
    count = -(-inputs // BLOCK)
    padded = np.zeros((outputs, count * BLOCK), np.float32)
    padded[:, :inputs] = weights
    importance = np.ones(count * BLOCK, np.float32)
    if hessian is not None:
        importance[:inputs] = np.maximum(np.diagonal(hessian), 1e-12)
    scales, zeros = _ranges(padded.reshape(outputs, count, BLOCK), bits, importance.reshape(count, BLOCK))
    if hessian is None or bits == 8:  # of eight bits there is nothing worth taking up
        codes = _rounded(padded, scales, zeros, bits)
    else:
        codes = _compensated(padded, scales, zeros, bits, hessian)
    whole = codes.astype(np.uint8).reshape(outputs, count, BLOCK)
    points = _packed(zeros.astype(np.uint8).reshape(outputs, 1, count), bits)[:, 0]
    return Blocks(bits, _packed(whole, bits), scales, points)


def weights_of(blocks: Blocks, inputs: int) -> Array:
    """The weights float32 [N, K] that the blocks stand for."""
    outputs, count = blocks.scales.shape
    codes = _unpacked(blocks.codes, blocks.bits).astype(np.float32)
    zeros = _unpacked(blocks.zeros[:, None], blocks.bits)[:, 0, :count].astype(np.float32)
    found: Array = ((codes - zeros[:, :, None]) * blocks.scales[:, :, None]).reshape(outputs, -1)[:, :inputs]
    return found


def _ranges(grouped: Array, bits: int, importance: Array) -> tuple[Array, Array]:
    """Scale and zero point of each block [N, blocks]: of a few ranges the one with the least weighed error."""
    most = (1 << bits) - 1
    low, high = np.minimum(grouped.min(axis=2), 0), np.maximum(grouped.max(axis=2), 0)
    best = np.full(low.shape, np.inf, np.float32)
    scales, zeros = np.ones_like(low), np.zeros_like(low)
    for shrink in SHRINKS if bits < 8 else SHRINKS[:1]:
        scale = ((high - low) * shrink / most).astype(np.float32)
        scale[scale == 0] = 1.0
        zero = np.clip(np.round(-low * shrink / scale), 0, most)
        made = (np.clip(np.round(grouped / scale[:, :, None]) + zero[:, :, None], 0, most) - zero[:, :, None]) * scale[:, :, None]
        error = ((made - grouped) ** 2 * importance[None]).sum(axis=2)
        better = error < best
        best, scales, zeros = np.where(better, error, best), np.where(better, scale, scales), np.where(better, zero, zeros)
    return scales.astype(np.float32), zeros.astype(np.float32)


def _rounded(padded: Array, scales: Array, zeros: Array, bits: int) -> Array:
    spread, middle = (np.repeat(one, BLOCK, axis=1) for one in (scales, zeros))
    found: Array = np.clip(np.round(padded / spread) + middle, 0, (1 << bits) - 1)
    return found


def _compensated(padded: Array, scales: Array, zeros: Array, bits: int, hessian: Array) -> Array:
    """Codes [N, K'] column by column, each column's error spread over the columns behind it."""
    inputs, most = len(hessian), (1 << bits) - 1
    upper = _inverse_root(hessian)
    rest = padded[:, :inputs].copy()
    codes = np.repeat(zeros, BLOCK, axis=1)
    for begin in range(0, inputs, BLOCK):
        end, number = min(begin + BLOCK, inputs), begin // BLOCK
        scale, zero = scales[:, number], zeros[:, number]
        errors = np.empty((len(rest), end - begin), np.float32)
        for column in range(begin, end):
            codes[:, column] = np.clip(np.round(rest[:, column] / scale) + zero, 0, most)
            error = (rest[:, column] - (codes[:, column] - zero) * scale) / upper[column, column]
            errors[:, column - begin] = error
            rest[:, column + 1 : end] -= error[:, None] * upper[column, column + 1 : end]
        rest[:, end:] -= errors @ upper[begin:end, end:]
    found: Array = codes
    return found


def _inverse_root(hessian: Array) -> Array:
    """The upper Cholesky factor, float32 [K, K], of the inverse of a damped matrix."""
    damped = hessian.astype(np.float64)
    damped[np.diag_indices_from(damped)] += DAMPING * max(float(np.diagonal(damped).mean()), 1e-8)
    found: Array = np.linalg.cholesky(np.linalg.inv(damped)).T.astype(np.float32)
    return found


def _packed(values: Array, bits: int) -> Array:
    """Numbers uint8 [.., M] as bytes; two of four bits share one, the first below."""
    if bits == 8:
        return np.ascontiguousarray(values)
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1)
    found: Array = values[..., 0::2] | (values[..., 1::2] << 4)
    return found


def _unpacked(values: Array, bits: int) -> Array:
    if bits == 8:
        return values
    found: Array = np.stack([values & 15, values >> 4], axis=-1).reshape(*values.shape[:-1], -1)
    return found
