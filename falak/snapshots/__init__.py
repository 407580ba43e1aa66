"""Artifacts on this node, by digest."""
