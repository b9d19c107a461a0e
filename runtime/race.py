from __future__ import annotations


class Race: pass
def find_races(*a): return ()
