"""Machines and nests that several tests share."""
