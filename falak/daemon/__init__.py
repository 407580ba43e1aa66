"""A node's process around its core: events in, effects carried out. ``wiring.run`` is its door."""
