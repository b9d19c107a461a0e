"""Machines (of versions 0.3 and 0.4), a problem and a mapping as Timeloop has them."""

from __future__ import annotations

NESTED = """\
architecture:
  version: 0.3
  subtree:
    - name: system
      local:
        - {name: DRAM, class: DRAM, attributes: {type: LPDDR4, width: 64, block-size: 4, word-bits: 16}}
      subtree:
        - name: chip
          local:
            - name: glb
              class: SRAM
              attributes: {memory_depth: 32, memory_width: 64, word-bits: 16, read_bandwidth: 4}
          subtree:
            - name: PE[0..5]
              local:
                - {name: spad, class: regfile, attributes: {depth: 8, width: 16, word-bits: 16, meshX: 3}}
                - {name: mac, class: intmac, attributes: {datawidth: 16, meshX: 3}}
"""
NODES = """\
architecture:
  version: 0.4
  nodes:
  - !Container
    name: system
  - !Component # main memory
    name: DRAM
    class: DRAM
    attributes: {type: LPDDR4, width: 64, datawidth: 8}
  - !Component
    name: glb
    class: smartbuffer_SRAM
    attributes: {depth: 16, width: 64, datawidth: 8, read_bandwidth: 16}
    constraints: {dataspace: {keep: [Inputs, Outputs], bypass: [Weights]}}
  - !Container
    name: PE
    spatial: {meshX: 3, meshY: 2}
  - !Component
    name: mac
    class: intmac
    attributes: {multiplier_width: 8}
"""
PROBLEM = """\
problem:
  instance: {C: 4, M: 6, P: 5, R: 3, Wstride: 2, bitwidths: {Weights: 4}, commonBitwidth: 8}
  shape:
    name: layer
    dimensions: [C, M, P, R]
    coefficients: [{name: Wstride, default: 1}]
    data-spaces:
      - {name: Weights, projection: [[[C]], [[M]], [[R]]]}
      - {name: Inputs, projection: [[[C]], [[R], [P, Wstride]]]}
      - {name: Outputs, projection: [[[M]], [[P]]], read-write: true}
"""
MAPPING = """\
mapping:
  - {target: spad, type: temporal, factors: C2 R3, permutation: RC}
  - {target: glb, type: spatial, factors: M3 C2, permutation: MC, split: 1}
  - {target: glb, type: temporal, factors: P5, permutation: P}
  - {target: DRAM, type: temporal, factors: M=2, permutation: M}
  - {target: glb, type: bypass, keep: [Inputs], bypass: [Weights, Outputs]}
"""
