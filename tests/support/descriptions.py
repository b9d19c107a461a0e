"""Texts of machine descriptions."""

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
