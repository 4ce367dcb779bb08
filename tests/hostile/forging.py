"""Values that no file or message should hold, put into every place of one."""

import copy
from collections.abc import Iterator
from typing import Any

# Of every JSON type, and numbers that no field can mean.
STRANGE: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    -1e300,
    float("nan"),
    float("inf"),
    "",
    "text",
    "\ud800",
    [],
    [1],
    {},
    {"a": 1},
)
MISSING = object()


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to every value within JSON values; of lists, the first item stands for all."""
    if at:
        yield at
    if isinstance(value, dict):
        for key, one in value.items():
            yield from places(one, (*at, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*at, 0))


def forged(value: Any, at: tuple[Any, ...], strange: Any) -> Any:
    """A copy in which a strange value is at a path, or nothing if that is `MISSING`."""
    found = copy.deepcopy(value)
    inner = found
    for key in at[:-1]:
        inner = inner[key]
    if strange is MISSING:
        del inner[at[-1]]
    else:
        inner[at[-1]] = strange
    return found
