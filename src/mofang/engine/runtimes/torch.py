"""torch as a plug-in: an exported program run by a child process, so that the serving process never holds torch.

Parent and child talk over pipes in frames: four bytes of length, that much JSON ([name, dtype, shape] of each array, or an
error), then the arrays' bytes one after another. A child that dies or does not answer in time is killed, started afresh
once, and asked again.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, ClassVar, Self

import numpy as np

from mofang.core.errors import MofangError
from mofang.engine.arrays import Array, Arrays
from mofang.engine.runtimes import file_of, missing_package

START_S, CALL_S = 120.0, 60.0
HEADER_MAX = 1 << 20
ARRAYS_MAX = 1 << 31  # bytes of one frame
WEIGHTS = "program.safetensors"
DTYPES = ("int64", "int32", "float32", "bool", "uint8")


class TorchRuntime:
    """``streams`` child processes, each with the program loaded; a call takes one that is free."""

    name: ClassVar[str] = "torch"
    file: ClassVar[str] = "program.json"
    files: ClassVar[Mapping[str, str]] = {"fp32": file}

    def __init__(self, folder: Path, threads: int, streams: int = 1) -> None:
        program, weights = (folder / self.file).resolve(), (folder / WEIGHTS).resolve()
        self._free: SimpleQueue[_Child] = SimpleQueue()
        self._children = [_Child(program, weights, threads) for _ in range(streams)]
        for child in self._children:
            child.start()
            self._free.put(child)

    @classmethod
    def available(cls) -> str | None:
        """None, or that torch is not installed. Looking does not import it."""
        return missing_package("torch", "torch")

    @classmethod
    def load(cls, folder: Path, about: Mapping[str, Any], threads: int, precision: str = "fp32", streams: int = 1) -> Self:
        """Start the children on program.json and program.safetensors of the folder."""
        file_of(cls, folder, precision)
        return cls(folder, threads, streams)

    def run(self, arrays: Arrays) -> Arrays:
        """Run the program once, in whichever child is free."""
        child = self._free.get()
        try:
            return child.ask(arrays)
        finally:
            self._free.put(child)

    def close(self) -> None:
        """End the children."""
        for child in self._children:
            child.kill()

    def __del__(self) -> None:
        self.close()


class _Child:
    """One child process, restarted once when it dies under a call."""

    def __init__(self, program: Path, weights: Path, threads: int) -> None:
        self.words = [sys.executable, "-P", "-m", "mofang.engine.torchchild", str(program), str(weights), str(threads)]
        self.process: subprocess.Popen[bytes] | None = None
        self.lock = threading.Lock()

    def start(self) -> None:
        """Begin the process and wait until the program is loaded."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}
        self.process = subprocess.Popen(self.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        env=environment)
        try:
            self._receive(START_S)
        except (OSError, EOFError, TimeoutError) as error:
            self.kill()
            raise MofangError("engine-refuses", engine="torch", reason=f"its process did not start: {error}") from error

    def ask(self, arrays: Arrays) -> Arrays:
        """The program's outputs; a second child answers where the first one died."""
        with self.lock:
            for attempt in (1, 2):
                if self.process is None or self.process.poll() is not None:
                    self.kill()
                    self.start()
                try:
                    self._send(arrays)
                    return self._receive(CALL_S)
                except (OSError, EOFError, TimeoutError) as error:
                    self.kill()
                    if attempt == 2:
                        raise MofangError("engine-refuses", engine="torch", reason=f"its process died twice: {error}") from error
        raise AssertionError("a child answers or raises")

    def kill(self) -> None:
        """End the process without asking it."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
            process.wait()

    def _send(self, arrays: Arrays) -> None:
        assert self.process is not None and self.process.stdin is not None
        write_frame(self.process.stdin, arrays)

    def _receive(self, seconds: float) -> Arrays:
        assert self.process is not None and self.process.stdout is not None
        return read_frame(_Timed(self.process.stdout, time.monotonic() + seconds))


class _Timed:
    """A pipe that is read until a moment."""

    def __init__(self, stream: IO[bytes], until_s: float) -> None:
        self.stream, self.until_s = stream, until_s

    def read(self, size: int) -> bytes:
        """Exactly so many bytes; raises EOFError, TimeoutError."""
        found = bytearray()
        while len(found) < size:
            left = self.until_s - time.monotonic()
            if left <= 0 or not select.select([self.stream], [], [], left)[0]:
                raise TimeoutError("no answer in time")
            piece = os.read(self.stream.fileno(), min(size - len(found), 1 << 20))
            if not piece:
                raise EOFError("the pipe ended")
            found += piece
        return bytes(found)


def write_frame(stream: IO[bytes], arrays: Mapping[str, Array], error: str = "") -> None:
    """Arrays, or an error, as one frame."""
    held = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    header = {"error": error, "arrays": [[name, str(array.dtype), list(array.shape)] for name, array in held.items()]}
    data = json.dumps(header).encode()
    stream.write(struct.pack("<I", len(data)) + data)
    for array in held.values():
        stream.write(array.tobytes())
    stream.flush()


def read_frame(stream: Any) -> Arrays:
    """The arrays of one frame; raises EOFError where the pipe ends, ``engine-refuses`` for an error that it carries."""
    first = stream.read(4)
    if len(first) < 4:
        raise EOFError("the pipe ended")
    (size,) = struct.unpack("<I", first)
    if size > HEADER_MAX:
        raise EOFError("a header that is too long")
    header = json.loads(stream.read(size))
    if header["error"]:
        raise MofangError("engine-refuses", engine="torch", reason=header["error"])
    arrays = {}
    for name, dtype, shape in header["arrays"]:
        count = int(np.prod(shape, dtype=object))
        if dtype not in DTYPES or count * np.dtype(dtype).itemsize > ARRAYS_MAX:
            raise EOFError("an array that is too large, or of another kind")
        data = stream.read(count * np.dtype(dtype).itemsize)
        arrays[name] = np.frombuffer(data, dtype).reshape(shape)
    return arrays
