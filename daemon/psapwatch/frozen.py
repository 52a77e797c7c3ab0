"""Frozen data at the price of plain data (layer L0).

``dataclass(frozen=True)`` guards each field at run time, also while the object is being made: five
times the cost of plain assignment, and an attempt makes two dozen objects. ``frozen`` leaves the
guard to the type checker, which sees every assignment in the package: ``seen.at_s = 0`` is an error
of ``make check``. For what is made with every message; all else is frozen the ordinary way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[_T]) -> type[_T]:
    """Make a dataclass with slots, equality and a hash, frozen as far as the type checker sees."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
