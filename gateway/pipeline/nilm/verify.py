"""The process that checks a pulled model, so that the daemon never loads what it takes to check one.

``python -m gateway.pipeline.nilm.verify RELEASE --key ed25519:... --gateway NAME --output MODEL [--now SECONDS]``

Writes the model and prints one line: ``{"serial", "expires", "made"}``, or ``{"error": {"code", "cause", "fix"}}`` and
exits with 3.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from gateway.pipeline.nilm import model as models
from gateway.pipeline.nilm import release as releases
from gateway.pipeline.nilm.result import ModelError

REFUSED = 3


def main(arguments: list[str] | None = None) -> int:
    """Check, write, print. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="gateway.pipeline.nilm.verify")
    parser.add_argument("release", type=Path)
    parser.add_argument("--key", required=True)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--now", type=int, help="UTC seconds, where the time is known")
    options = parser.parse_args(arguments)
    now = None if options.now is None else datetime.fromtimestamp(options.now, UTC)
    try:
        found = releases.verify(options.release.read_bytes(), releases.public_key(options.key), options.gateway, now)
        models.save(found.model, options.output)
    except ModelError as error:
        print(json.dumps({"error": {"code": error.code, "cause": error.cause, "fix": error.fix}}))
        return REFUSED
    expires = None if found.expires is None else int(found.expires.timestamp())
    print(json.dumps({"serial": found.serial, "expires": expires, "made": int(found.made.timestamp())}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
