"""The page of the scores."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np

from gateway.cli.models_plot import page, telling_day
from gateway.pipeline.nilm.evaluate import Evaluation
from gateway.pipeline.nilm.recording import Recording
from gateway.pipeline.nilm.score import score


def test_the_day_is_the_one_in_which_most_was_used() -> None:
    kettle = np.zeros(72)
    kettle[30] = 2000.0
    kettle[5] = np.nan
    assert telling_day({"kettle": kettle}, 3600.0) == slice(24, 48)


def test_names_are_escaped_gaps_part_lines_and_energies_are_right() -> None:
    true = np.full(48, 1000.0)
    true[10] = np.nan
    mains, guess = true + 50.0, np.where(np.isnan(true), np.nan, 500.0)
    recording = Recording("<b>.csv", 3600.0, 47, mains, {"kettle": true}, ())
    text = page(Evaluation(recording, 47, 1, score({"kettle": guess}, {"kettle": true}, mains, {}), {"kettle": guess}))
    assert "<b>.csv" not in text and "&lt;b&gt;.csv" in text and "<script" not in text
    assert ">47.000<" in text and ">23.500<" in text
    svg = text[text.rindex("<svg") : text.rindex("</svg>") + 6]
    assert all(path.get("d", "").count("M") == 1 for path in ET.fromstring(svg).iter("path"))  # the day without a gap
