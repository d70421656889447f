"""The Merkle tree is the one of RFC 6962, and its proofs hold for the right row only."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofang.core.merkle import Tree, inclusion_proof, leaf_hash, node_hash, verify_inclusion
from mofang.core.merkle import root as root_of

ROWS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [  # certificate-transparency's own test vectors
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
rows_and_place = st.lists(st.binary(max_size=12), min_size=1, max_size=70).flatmap(
    lambda rows: st.tuples(st.just(rows), st.integers(min_value=0, max_value=len(rows) - 1))
)


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_of_the_standard(size: int) -> None:
    assert root_of(ROWS[:size]).hex() == ROOTS[size - 1]


def test_no_rows_have_the_hash_of_nothing() -> None:
    assert root_of([]) == hashlib.sha256(b"").digest()


def split_root(rows: list[bytes]) -> bytes:
    """The recursive definition of the RFC, word for word."""
    if len(rows) == 1:
        return leaf_hash(rows[0])
    half = 1 << (len(rows) - 1).bit_length() - 1
    return node_hash(split_root(rows[:half]), split_root(rows[half:]))


@given(rows_and_place)
def test_every_row_can_be_proved(given_rows: tuple[list[bytes], int]) -> None:
    rows, index = given_rows
    root, proof = root_of(rows), inclusion_proof(rows, index)
    assert root == split_root(rows)
    assert len(proof) <= (len(rows) - 1).bit_length()
    assert verify_inclusion(rows[index], index, len(rows), proof, root)


@given(rows_and_place, st.binary(max_size=12), st.integers(min_value=0, max_value=80), st.data())
def test_a_proof_for_anything_else_fails(
    given_rows: tuple[list[bytes], int], other: bytes, place: int, data: st.DataObject
) -> None:
    rows, index = given_rows
    root, proof = root_of(rows), inclusion_proof(rows, index)
    if other != rows[index]:
        assert not verify_inclusion(other, index, len(rows), proof, root)
    if place >= len(rows) or rows[place] != rows[index]:
        assert not verify_inclusion(rows[index], place, len(rows), proof, root)
    assert not verify_inclusion(rows[index], index, len(rows), (*proof, b"\0" * 32), root)
    if proof:
        assert not verify_inclusion(rows[index], index, len(rows), proof[:-1], root)
        at = data.draw(st.integers(min_value=0, max_value=len(proof) - 1))
        flipped = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        assert not verify_inclusion(
            rows[index], index, len(rows), (*proof[:at], flipped, *proof[at + 1 :]), root
        )


def test_a_node_cannot_pass_for_a_row() -> None:
    root = root_of([b"a", b"b"])
    assert root_of([leaf_hash(b"a") + leaf_hash(b"b")]) != root


def test_the_root_can_be_asked_for_while_the_tree_grows() -> None:
    tree = Tree(watch=1)
    for size, row in enumerate(ROWS, start=1):
        tree.add(row)
        assert tree.root().hex() == ROOTS[size - 1]
    assert tree.proof() == inclusion_proof(ROWS, 1)
