"""The page of a day: in the zone of the site, also where the day has another length."""

from __future__ import annotations

import re
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.cli.appliances_page import LEFT, WIDTH, page

ZONE = ZoneInfo("Europe/Copenhagen")


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 11, 22), 24), (date(2026, 3, 29), 23), (date(2026, 10, 25), 25)]
)
def test_bands_stand_where_the_clock_says(day: date, hours: int) -> None:
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZONE)
    begin = datetime(day.year, day.month, day.day, tzinfo=ZONE).timestamp()
    run = {"name": "kettle", "start_s": noon.timestamp(), "end_s": noon.timestamp() + 3600, "kwh": 2.0, "was": ""}
    text = page(day, ZONE, [run], ["kettle"])
    assert "12:00:00" in text
    assert "kettle: 12:00:00 to 13:00:00, 2.000 kWh" in text
    found = re.search(r"<rect x='([\d.]+)' y='\d+' width='([\d.]+)'", text)
    assert found is not None
    whole = WIDTH - LEFT - 20
    assert float(found[1]) == pytest.approx(LEFT + whole * (noon.timestamp() - begin) / (hours * 3600), abs=0.1)
    assert float(found[2]) == pytest.approx(whole / hours, abs=0.1)


def test_an_empty_day() -> None:
    text = page(date(2026, 11, 22), ZONE, [], [], "no <b>markup</b>")
    assert "No appliance ran" in text
    assert "no &lt;b&gt;markup&lt;/b&gt;" in text
