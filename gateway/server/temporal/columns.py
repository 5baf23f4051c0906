"""temporalValues of series of numbers by columns, without an object per sample: the short way for charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.server.storage.base import Numbers, Reader, Sample, Span

INTERVAL_US_MAX = 8 * 86_400_000_000  # a longer one may hold more than is to be read before it is known to be too long
WHOLE_MAX = 2.0**53


def values_of(
    reader: Reader, tenant: str, entity_id: str, present: Sequence[Sample], span: Span
) -> list[Numbers] | None:
    """The columns of the series, each of which is given by its newest sample.

    None where the short way does not go: other values than numbers, an open or a long interval, another time property.
    """
    since, until = span.since_us, span.until_us
    if since is None or until is None or until - since > INTERVAL_US_MAX:
        return None
    if span.time_property != "observedAt" or span.last_n is not None:
        return None
    found: list[Numbers] = []
    for newest in present:
        columns = reader.numbers(tenant, entity_id, newest.attribute, newest.dataset, since, until)
        if columns is None:
            return None
        found.append(columns)
    return found


def shown(columns: Numbers, dataset: str) -> dict[str, Any]:
    """As ``show`` has it for single values."""
    pairs = [list(pair) for pair in zip(_plain(columns.values), texts(columns.at_us), strict=True)]
    result: dict[str, Any] = {"type": "Property", "values": pairs}
    return {**result, "datasetId": dataset} if dataset else result


def texts(at_us: NDArray[np.int64]) -> list[str]:
    """DateTimes, like ``time_text`` for each."""
    moments = at_us.astype("M8[us]")
    if not (at_us % 1_000_000).any():
        return list(np.datetime_as_string(moments, unit="s", timezone="UTC").tolist())
    whole = np.datetime_as_string(moments, unit="us", timezone="UTC").tolist()
    return [text[:-1].rstrip("0").rstrip(".") + "Z" for text in whole]


def _plain(values: NDArray[np.float64]) -> list[float]:
    """Whole numbers as such: 120, not 120.0."""
    if bool(np.all((values == np.floor(values)) & (np.abs(values) < WHOLE_MAX))):
        return list(values.astype(np.int64).tolist())
    return [int(value) if value.is_integer() and abs(value) < WHOLE_MAX else value for value in values.tolist()]
