"""The tests. Each of several workers has its own cache of compiled functions.

Two processes that compile two forms of one function at the same moment mix them up in numba's cache, and whoever loads
it later dies of a segmentation fault.
"""

import os
from pathlib import Path

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["NUMBA_CACHE_DIR"] = str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "numba" / worker)
