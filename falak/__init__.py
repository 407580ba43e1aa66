"""Falak: an orchestration-less mesh of nodes that run capsules. Importing it loads nothing else."""

__version__ = "0.1.0"
