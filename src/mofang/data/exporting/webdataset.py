"""WebDataset: tar files in which the files of one record share their name: ``ID.json`` with the values and ``ID.COLUMN.png``
for an image or sound."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import orjson

from mofang.data.exporting.told import extension_of
from mofang.data.records import Batch
from mofang.data.roles import ID

SHARD_BYTES = 256 * 2**20


class WebdatasetWriter:
    """Shards of at most 256 MiB for each part."""

    def __init__(self, place: Path, part: str, roles: Mapping[str, str], media: list[str]) -> None:
        self._place, self._part, self._roles, self._media = place, part, roles, media
        self.files: list[str] = []
        self._open()

    def _open(self) -> None:
        self.files.append(f"{self._part}-{len(self.files):06}.tar")
        self._tar = tarfile.open(self._place / self.files[-1], "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def write(self, batch: Batch) -> None:
        """Append a batch."""
        columns = {name: batch.column(name) for name in [ID, *self._roles]}
        for place, id in enumerate(columns[ID]):
            if self._tar.offset > SHARD_BYTES:
                self._tar.close()
                self._open()
            self._add(f"{id}.json", orjson.dumps({name: values[place] for name, values in columns.items()}))
            for number, name in enumerate(self._media):
                if content := batch.media[name][place]:
                    self._add(f"{id}.{number}{extension_of(content)}", content)

    def _add(self, name: str, content: bytes) -> None:
        entry = tarfile.TarInfo(name)  # no time and no owner: the same records make the same file
        entry.size = len(content)
        self._tar.addfile(entry, io.BytesIO(content))

    def close(self) -> None:
        """Complete the last shard."""
        self._tar.close()
