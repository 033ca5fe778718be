"""The configuration reference, made from the settings' own classes.

``python -m farthing.operations.reference docs/operations.md`` writes it between the marks of that
file; a test holds that it is there.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from farthing.settings import TABLES

BEGIN, END = "<!-- settings -->", "<!-- /settings -->"
_ATTRIBUTE = re.compile(r"    (\w+): (.*)")
_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def reference() -> str:
    """All tables, as Markdown."""
    return "\n".join(_lines())


def written_into(text: str) -> str:
    """``text`` with the reference between its marks.

    Raises:
        ValueError: The marks are missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{BEGIN} and {END} are missing: put them where the reference should be")
    return f"{before}{BEGIN}\n{reference()}\n{END}{after}"


def _lines() -> Iterator[str]:
    for name, table in TABLES.items():
        if not name:
            continue
        said, meanings = _told(table)
        yield f"\n### `[{name}]`\n\n{said}\n"
        yield "| setting | is | without it | meaning |"
        yield "| --- | --- | --- | --- |"
        hints = get_type_hints(table, include_extras=True)
        for field in msgspec.structs.fields(table):
            kind, default = _kind(hints[field.name]), _default(field)
            yield f"| `{field.name}` | {kind} | {default} | {meanings[field.name]} |"


def _told(table: type) -> tuple[str, dict[str, str]]:
    """What a docstring says of the table, and of each of its settings."""
    doc, _, attributes = (inspect.getdoc(table) or "").partition("\nAttributes:\n")
    said = " ".join(doc.split())
    said = said.partition("``: ")[2]
    found: dict[str, str] = {}
    name = ""
    for line in attributes.splitlines():
        begun = _ATTRIBUTE.fullmatch(line)
        if begun:
            name = begun[1]
            found[name] = begun[2]
        elif line.strip():
            found[name] += " " + line.strip()
    plain = {name: text.replace("``", "`") for name, text in found.items()}
    return said[:1].upper() + said[1:].replace("``", "`"), plain


def _kind(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *marks = get_args(hint)
        return _kind(inner) + "".join(_bounds(mark) for mark in marks)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(each) for each in get_args(hint) if each is not types.NoneType)
    if origin is Literal:
        return " or ".join(f'`"{each}"`' for each in get_args(hint))
    if origin is tuple:
        return "list of texts"
    return _KINDS[hint]


def _bounds(meta: msgspec.Meta) -> str:
    bounds = []
    if meta.ge is not None:
        bounds.append(f"{meta.ge:,} or more")
    if meta.gt is not None:
        bounds.append(f"above {meta.gt:,}")
    if meta.le is not None:
        bounds.append(f"{meta.le:,} at most")
    return f", {', '.join(bounds)}" if bounds else ""


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "an error"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory
    if default in (None, ()):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, str):
        return f'`"{default}"`'
    if isinstance(default, tuple):
        return "`[" + ", ".join(f'"{each}"' for each in default) + "]`"
    return f"`{default}`"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(written_into(path.read_text("utf-8")), "utf-8")
