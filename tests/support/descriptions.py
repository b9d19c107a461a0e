"""Texts of machine descriptions."""

from __future__ import annotations


def levels_text(
    *levels: str, clock: str = "1 GHz", bits: str = "input: 8, weight: 4, output: 8, partial: 24", head: str = ""
) -> str:
    """A machine with levels inside the array, each the inside of its braces; `head` are lines before them."""
    listed = "".join(f"  - {{{each}}}\n" for each in levels)
    return f"name: small\nclock_hz: {clock}\nbits: {{{bits}}}\n{head}levels:\n{listed}"


SMALL = """\
name: small
clock_hz: 1 GHz
array:
  rows: 4
  cols: 6
  dataflows: [ws]
  mac_forms: [subtract]
  inputs: [i8]
  weights: [i8]
  accumulator: i32
memories:
  - {name: dram, capacity_bytes: 1 GiB, word_bytes: 64}
  - {name: spad, capacity_bytes: 4 KiB, word_bytes: 4, holds: [input, weight, bias, aux]}
  - {name: acc, capacity_bytes: 1536, word_bytes: 24, holds: [output]}
dma: {bus_bytes: 8, burst_bytes: 64, requests_in_flight: 4, bandwidth_bytes_per_second: 8 GB/s, latency_cycles: 20}
queues: {load: 4, execute: 4, store: 2}
post: {lanes: 4}
host: {bytes_per_second: 1 GB/s}
"""
