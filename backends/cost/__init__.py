"""Scheduled nests to counts, cycles and energy in closed form: specs/counts.md, specs/isa.md."""
