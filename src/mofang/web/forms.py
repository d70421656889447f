"""Forms that a browser sends: texts, and one picture."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from mofang.core.errors import MofangError

FIELDS_MAX = 2000
Form = dict[str, str | bytes]


def read_form(content_type: str, data: bytes) -> Form:
    """The fields of a form; uploaded files are bytes. ``form-unreadable`` for anything else."""
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/x-www-form-urlencoded" or not data:
            return dict(parse_qsl(data.decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS_MAX))
        if kind == "multipart/form-data":
            return _multipart(content_type, data)
    except (ValueError, LookupError):
        pass
    raise MofangError("form-unreadable")


def _multipart(content_type: str, data: bytes) -> Form:
    """RFC 7578, as browsers write it: parts between boundary lines, the name in the first header."""
    boundary = re.search(r'boundary="?([^";,\s]{1,200})"?', content_type)
    if boundary is None:
        raise ValueError("no boundary")
    pieces = (b"\r\n" + data).split(b"\r\n--" + boundary[1].encode("latin-1"))
    if len(pieces) < 3 or not pieces[-1].startswith(b"--") or len(pieces) > FIELDS_MAX:
        raise ValueError("cut off")
    form: Form = {}
    for piece in pieces[1:-1]:
        head, end, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        told = next((line for line in head.decode("utf-8").split("\r\n") if line.lower().startswith("content-disposition:")), "")
        name = re.search(r';\s*name="([^"]*)"', told)
        if not end or name is None:
            raise ValueError("no name")
        form[name[1]] = content if re.search(r";\s*filename\*?=", told) else content.decode("utf-8")
    return form
