"""Optimal mappings on hierarchies of stores and fan-outs, with proof (specs/hierarchy.md, Map space)."""
