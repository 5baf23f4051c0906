"""Templates of SenML sensors against their own frames, as the driver decodes them."""

from __future__ import annotations

import pytest

from drivers import template
from drivers.codecs import senml

SENML = [name for name in template.names() if template.load(name).protocol == "coap-senml"]


@pytest.mark.parametrize("name", SENML)
def test_template_decodes_its_own_frames(name: str) -> None:
    known = template.load(name)
    senml.check(known.fields)
    assert known.frames
    for frame in known.frames:
        (instant,) = senml.decode(frame.answer, known.fields)
        assert {m.quantity: m.value for m in instant.measurements} == dict(frame.expect)


def test_there_are_some() -> None:
    assert {"coap-senml-air", "coap-senml-counter"} <= set(SENML)
