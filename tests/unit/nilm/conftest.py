"""In this process the kernels run as plain Python: quick to start; that compiled ones agree is a test of its own."""

import os
import sys
from pathlib import Path

os.environ["LAMPPOST_NILM_PURE"] = "1"
sys.path.insert(0, str(Path(__file__).parent))  # nilm_houses
