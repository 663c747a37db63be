"""Where the checkout lies, and the folder shared beside it."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("PETAR_SHARED") or ROOT.parent / "shared")
"""Cohorts, data and tools that are not in the repository; tests that need it are skipped where it is missing."""
