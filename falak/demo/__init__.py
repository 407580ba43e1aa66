"""``falak demo``: the story of a first request, told by real nodes.

``mesh`` has the processes, ``steps`` what is done with them and what must then be true, ``load`` the many
requests, ``story`` the telling. Client calls and processes only: nothing here looks into a node.
"""
