"""Every claim about Falak's speed, measured against the peer it names, in turn in the same run.

`python -m bench` runs all of them, `python -m bench NAME` one, `--write` makes `docs/performance.md` anew.
It measures and tells; it never decides what Falak does, and nothing of Falak imports it.
"""
