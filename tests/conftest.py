"""Puts this folder on the path, so that tests share `support` whatever their own folder; keeps out the user's cache;
no example fails for being slow on a busy machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))
os.environ["DNNC_CACHE_DIR"] = "off"  # tests search; those of the cache have a folder of their own
settings.register_profile("dnnc", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dnnc")
