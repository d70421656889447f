"""What a supervisor and its workers say to each other about connections; imports nothing, so that a supervisor stays small."""

from __future__ import annotations

import struct

SLOTS = 65_536  # connections of all workers together
MESSAGE = struct.Struct("<cI")
NEW, KEPT = b"n", b"k"  # to a worker: a connection just opened, one that goes on
READY, CLOSED, RETURNED, LOST, BEATS = b"+", b"c", b"r", b"l", b"h"  # from a worker
IDLE, BEGUN, ANSWERING = 0, 1, 2  # on the board, a byte for each connection


def place_word(*told: object) -> str:
    """What a worker is told, as a word of its command line: its place (``handed.Place``), field by field."""
    return ",".join(map(str, told))
