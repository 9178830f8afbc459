"""Settings for all tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Tiny tensor operations on two busy cores are up to forty times slower with two threads than with one. Set before torch is
# imported, so that subprocesses inherit it; nothing here imports torch, because some tests assert that nothing does.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))  # tiny.py and program.py, shared by tests of several folders
