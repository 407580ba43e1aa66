"""The core: every decision of a node, pure. See ``node`` for what a driver owes it.

No clock, socket, file, log, asyncio or randomness of its own: events in, effects out. It runs, and is tested,
without the native extension. One concern, one module; the rules each module keeps are in its first lines.
"""
