"""Configurations by the release of ``lgatr`` whose function they compute."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

Config = TypeVar("Config")


def versioned(
    config: type[Config],
    versions: Mapping[str, Mapping[str, Any]],
    version: str,
    settings: Mapping[str, Any],
) -> Config:
    """A ``config`` with the fields that ``versions`` has for this version, and with ``settings``.

    Raises ValueError for a version that is not among them.
    """
    if version not in versions:
        raise ValueError(f"version: found {version!r}, expected one of {[*versions]}")
    names = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    fields = {name: value for name, value in versions[version].items() if name in names}
    return config(**(fields | dict(settings)))
