"""The tests of the API again, over PostgreSQL: the same requests, the same answers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.postgres_server import postgres

HERE = Path(__file__).parent
PARTS = (
    "test_api.py",
    "test_entities_changes.py",
    "test_entities_merge.py",
    "test_entities_purge.py",
    "test_query_api.py",
    "test_temporal_query.py",
    "test_temporal_provision.py",
    "test_subscriptions.py",
    "test_subscription_delivery.py",
    "test_sources.py",
    "test_retention.py",
    "test_snapshots.py",
)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_tests_of_the_api_pass_over_postgres() -> None:
    with postgres() as url:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider"]
        command += [str(HERE / part) for part in PARTS]
        done = subprocess.run(
            command,
            env={**os.environ, "LAMPPOST_TEST_DATABASE": url},
            cwd=HERE.parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        tables = subprocess.run(
            ["psql", "-At", "-c", "SELECT count(*) FROM information_schema.tables WHERE table_name = 'subject'", url],
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.returncode == 0, done.stdout[-4000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None and int(passed[1]) > 300
    assert int(tables.stdout) > 100, "they were in the database"
