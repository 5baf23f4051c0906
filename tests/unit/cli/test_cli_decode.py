"""`lamppost decode`: frames in the forms that people have them in."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.decode_input import candidates, with_topic
from tests.unit.cli.command import LAMPPOST, Run, environment

PMS = "424d001c000c00130017000b00120016085202800062000c00040001970002fa"
ENERGY = "010400480002f1dd" + "010404462a7522698d"  # an SDM's import: request and answer


def values(run: Run, *arguments: object) -> dict[str, object]:
    done = run("decode", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return {item["quantity"]: item["value"] for item in json.loads(done.stdout)}


@pytest.mark.parametrize(
    "text",
    [
        PMS,
        PMS.upper(),
        " ".join(PMS[at : at + 2] for at in range(0, len(PMS), 2)),
        ":".join(PMS[at : at + 2] for at in range(0, len(PMS), 2)),
        base64.b64encode(bytes.fromhex(PMS)).decode(),
    ],
)
def test_hexadecimal_and_base64(run: Run, text: str) -> None:
    found = values(run, text)
    assert (found["pm1"], found["pm25"], found["pm10"]) == (11, 18, 22)


def test_a_file_and_standard_input(run: Run, tmp_path: Path) -> None:
    (tmp_path / "frame.bin").write_bytes(bytes.fromhex(PMS))
    assert values(run, tmp_path / "frame.bin")["pm25"] == 18
    done = subprocess.run(
        [LAMPPOST, "decode", "--json", "-"],
        input=PMS.encode(),
        capture_output=True,
        env=environment(tmp_path),
        check=True,
    )
    assert {"quantity": "pm25", "value": 18, "unit": "ug/m3", "quality": "good"} in json.loads(done.stdout)


def test_modbus_needs_the_template(run: Run) -> None:
    assert values(run, ENERGY, "--as", "eastron-sdm630") == {"energy_import_total": pytest.approx(10909.2832)}
    unnamed = run("decode", ENERGY)
    assert unnamed.returncode == 1
    assert "decode.modbus" in unnamed.stderr
    alone = run("decode", ENERGY[16:], "--as", "eastron-sdm630")
    assert alone.returncode == 1
    assert "give the request too" in alone.stderr


def test_what_cannot_be_relied_on_is_refused(run: Run) -> None:
    broken = PMS[:-1] + "b"
    assert "decode.bad-frame" in run("decode", broken, "--as", "pms").stderr
    assert "decode.unknown" in run("decode", broken).stderr
    assert "did you mean 'pms'" in run("decode", PMS, "--as", "pmss").stderr
    for arguments in ((broken,), (PMS, "--as", "pmss"), ("",)):
        assert run("decode", *arguments).returncode != 0


def test_an_implausible_value_is_marked(run: Run) -> None:
    frame = bytearray.fromhex(PMS)
    frame[12:14] = (60_000).to_bytes(2, "big")
    frame[-2:] = sum(frame[:-2]).to_bytes(2, "big")
    done = run("decode", "--json", frame.hex())
    assert {item["quantity"]: item["quality"] for item in json.loads(done.stdout)}["pm25"] == "bad"


@given(st.binary(min_size=1, max_size=64))
def test_every_way_to_write_bytes_is_among_the_candidates(data: bytes) -> None:
    assert data in candidates(data.hex().encode())
    assert data in candidates(data)
    if len(data) > 6:
        assert data in candidates(base64.b64encode(data))


@given(st.binary(max_size=200), st.text(max_size=20))
def test_a_topic_is_taken_out_of_what_mqtt_tools_print(data: bytes, topic: str) -> None:
    assert with_topic(data, "t")[1] == "t"
    with_topic(b"{" + data, "")
    printed = json.dumps({"topic": topic, "payload": {"a": 1}}).encode()
    assert with_topic(printed, "") == (b'{"a": 1}', topic)
