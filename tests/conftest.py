"""Puts this folder on the path, so that tests share `support` whatever their own folder."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
