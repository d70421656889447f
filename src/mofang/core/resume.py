"""What a person typed to start a run, kept beside its unfinished work, so that the day's screen can say how it goes on."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

FILE = "resume.json"

_typed: list[str] = []


def typed(arguments: Sequence[str]) -> None:
    """The command that this process carries out; called once by the command line."""
    _typed[:] = arguments


def note_resume(scratch: Path) -> None:
    """Write down the command beside the parts of a run that may be killed."""
    if _typed:
        (scratch / FILE).write_text(json.dumps({"typed": _typed, "folder": os.getcwd()}), encoding="utf-8")


def resume_command(scratch: Path) -> str:
    """The line to type to go on, with the way to its folder if that is another; empty if nobody typed one."""
    try:
        told = json.loads((scratch / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    folder, command = Path(told["folder"]), f"mofang {shlex.join(told['typed'])}"
    if folder == Path.cwd() or not folder.is_dir():
        return command
    return f"cd {shlex.quote(str(folder))} && {command}"
