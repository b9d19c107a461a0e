"""Counts and prices of mappings on hierarchies of stores and fan-outs (specs/hierarchy.md), in closed form."""
