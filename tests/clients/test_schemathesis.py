"""Our own OpenAPI document, taken at its word by schemathesis: whatever is sent gets an answer that it names."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.test_clients import python_with
from tests.server.support import ROOT, meter, serving, upsert

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SECONDS = 75
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
MEDIA = ("cbor", "jose")  # it cannot make these


async def test_every_request_gets_an_answer_that_the_document_names(tmp_path: Path) -> None:
    python = python_with("schemathesis==4.32.5")
    async with serving(tmp_path) as client:
        await upsert(client, meter(1))
        command = [str(Path(python).with_name("st")), "run", f"{client.base_url}/openapi.json", "--no-color"]
        command += ["--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing", "--max-examples", "10"]
        command += ["--max-time", str(SECONDS), "--continue-on-failure", "--suppress-health-check", "all"]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=400, check=False
        )
        assert (await client.get(f"{ROOT}/types")).status_code == 200
    said = done.stdout
    generated = re.search(r"(\d+) generated", said)
    assert generated is not None and int(generated[1]) > 2_000, said[-3000:]
    selected = re.search(r"Selected: (\d+)/\1\n +Tested: \1\n", said)
    assert selected is not None and int(selected[1]) > 60, said[-3000:]
    failures = said.partition("= FAILURES =")[2].partition("= WARNINGS =")[0]
    assert not failures, failures[:5000]
    errors = said.partition("= ERRORS =")[2].partition("= WARNINGS =")[0]
    assert all(any(kind in part for kind in MEDIA) for part in errors.split("Serialization not possible")[1:]), errors
