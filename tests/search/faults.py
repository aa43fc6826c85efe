"""The fault of a search that cannot be made."""

from __future__ import annotations

from typing import Any

import pytest

from cosweep.errors import Fault, SpecError
from cosweep.search import make_strategy


def only_fault(search: dict[str, Any], space: dict[str, Any]) -> Fault:
    """The one fault for which a search over a space is refused."""
    with pytest.raises(SpecError) as caught:
        make_strategy(search, space)
    (fault,) = caught.value.faults
    return fault
