"""The native gateway as the core's effects see it: routes, endpoints, refusals; and its numbers for people."""
