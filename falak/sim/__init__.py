"""A world of nodes around the shipped core: a virtual clock, a network with faults, gateways, invariants.

The second driver of ``falak.core``. Everything random comes from one seed, so a run is repeated by its number.
"""
