"""``lamppost`` with metered links that gather for seconds instead of minutes, and count their bytes as often."""

from __future__ import annotations

from gateway.cli.main import main
from gateway.uplink import link_manager, link_pace

if __name__ == "__main__":
    link_pace.INTERVAL_METERED_S, link_pace.INTERVAL_MAX_S = 2.0, 8.0
    link_pace.RETRY_S, link_pace.RETRY_FREE_MAX_S = 0.5, 1.0
    link_manager.COUNT_S = 0.5
    main()
