"""The types a constructor of a task, a model or a data source may use in its signature.

A constructor's signature *is* its configuration schema: ``longview.config`` reads it from the source text, without importing
the module (and so without torch), and checks the YAML against it. Hence annotations in such a signature may use only the names
of this module, the built-in scalars and ``list``/``tuple``/``dict``, ``Literal`` and ``| None``; defaults must be literals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Gt, Le, Lt

__all__ = [
    "Fraction",
    "FromData",
    "InputDim",
    "Literal",
    "NonNegativeFloat",
    "NonNegativeInt",
    "NumClasses",
    "PositiveFloat",
    "PositiveInt",
    "Probability",
    "Ratio",
    "Share",
]


@dataclass(frozen=True)
class FromData:
    """Marks a parameter that the data description supplies (``Description.<field>``); it must not be typed in YAML."""

    field: str


NumClasses: TypeAlias = Annotated[int, Ge(1), FromData("num_classes")]
InputDim: TypeAlias = Annotated[int, Ge(1), FromData("input_dim")]

PositiveInt: TypeAlias = Annotated[int, Ge(1)]
NonNegativeInt: TypeAlias = Annotated[int, Ge(0)]
PositiveFloat: TypeAlias = Annotated[float, Gt(0)]
NonNegativeFloat: TypeAlias = Annotated[float, Ge(0)]
Probability: TypeAlias = Annotated[float, Ge(0), Lt(1)]
"""A probability in [0, 1): a dropout rate of 1 would drop everything."""
Ratio: TypeAlias = Annotated[float, Ge(0), Le(1)]
"""A number in [0, 1]."""
Fraction: TypeAlias = Annotated[float, Gt(0), Lt(1)]
"""A part of a whole in the open interval (0, 1), such as the observed part of a video."""
Share: TypeAlias = Annotated[float, Ge(0), Lt(1)]
"""A share in [0, 1): may be nothing, never everything, such as the videos held out for validation."""
