"""A node's control API: one JSON object a line on a unix socket, for the programs of this machine's owner.

``server`` speaks the lines, ``listings``, ``gather`` and ``launch`` hold the operations, ``peers`` is what one
node tells another, ``desk`` what all of them may touch.
"""
