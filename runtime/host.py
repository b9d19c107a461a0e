from __future__ import annotations


class HostRunner:
    def __init__(self,*a): pass
    def __enter__(self): return self
    def __exit__(self,*a): pass
