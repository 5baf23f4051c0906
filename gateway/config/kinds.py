"""The kinds of value that the configuration file is made of, and the base of its parts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
DURATION_PATTERN = r"^\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(ms|s|min|h|d)?\s*$"
_DURATION = re.compile(DURATION_PATTERN)
_DURATION_S = {"ms": 0.001, None: 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
SIZE_PATTERN = r"^\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(B|kB|MB|GB|KiB|MiB|GiB)?\s*$"
_SIZE = re.compile(SIZE_PATTERN)
_SIZE_B = {None: 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

INTERFACE_PATTERN = r"^[A-Za-z0-9_][^/:\s]{0,14}$"  # dev_valid_name() in net/core/dev.c takes a little more
HOURS_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$"


def _seconds(value: object) -> object:
    if isinstance(value, str) and (match := _DURATION.match(value)):
        return float(match[1]) * _DURATION_S[match[2]]
    return value


def _bytes(value: object) -> object:
    if isinstance(value, str) and (match := _SIZE.match(value)):
        return int(float(match[1]) * _SIZE_B[match[2]])
    return value


def _beside(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    return path if folder is None else folder / path


_DurationText = Annotated[str, Field(pattern=DURATION_PATTERN)]
_SizeText = Annotated[str, Field(pattern=SIZE_PATTERN)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Seconds = Annotated[float, Field(gt=0), BeforeValidator(_seconds, json_schema_input_type=float | _DurationText)]
Bytes = Annotated[int, Field(gt=0), BeforeValidator(_bytes, json_schema_input_type=int | _SizeText)]
Interface = Annotated[str, Field(pattern=INTERFACE_PATTERN)]
Hours = Annotated[str, Field(pattern=HOURS_PATTERN)]
FilePath = Annotated[Path, AfterValidator(_beside)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Part(BaseModel):
    """Base of every part of the configuration: frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Listen(Part):
    """Where something listens. Anything but loopback needs TLS and a token."""

    host: str = "127.0.0.1"
    """Address or host name to listen on."""
    port: Port
    """TCP port; 0 takes a free one."""
