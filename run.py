#!/usr/bin/env python
"""Compose, check and launch an experiment: `python run.py --help` says how."""

import sys
from pathlib import Path

from longview.app import main

if __name__ == "__main__":
    sys.exit(main(conf=Path(__file__).resolve().parent))
