"""Scheduled nests to instruction programs; assembly text and back."""
