"""Puts this folder on the path, so that tests share `support` whatever their own folder; keeps out the user's cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ["DNNC_CACHE_DIR"] = "off"  # tests search; those of the cache have a folder of their own
