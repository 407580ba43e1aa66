"""The node that most tests of the core begin with."""

import pytest

from tests.unit.core.rig import Rig


@pytest.fixture
def rig() -> Rig:
    """A node that met n2 and n3."""
    made = Rig()
    made.begin()
    made.meet("n2", "n3")
    return made
