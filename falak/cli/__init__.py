"""The command line: one file a group of verbs, each loaded only when one of its verbs is called.

It turns words into client calls and answers into text or JSON. It decides nothing about the mesh; only ``up``
loads the daemon, only ``demo`` starts processes.
"""
