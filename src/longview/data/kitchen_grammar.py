"""The invented grammar behind the generated "kitchen" data: what is cooked, in which order, and how long it takes.

Nothing here is taken from a data set. Recipes start alike and part ways later, some steps are optional, some swap places,
some repeat; so the future follows from the past to a degree, and never with certainty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "BACKGROUND",
    "CLASSES",
    "CONFUSABLE",
    "RECIPES",
    "AnyOrder",
    "Node",
    "Optional",
    "Repeat",
    "expected_length",
]

BACKGROUND = "idle"

CLASSES: dict[str, float] = {
    BACKGROUND: 0.4,
    "take_bowl": 0.5,
    "take_pan": 0.5,
    "take_cup": 0.5,
    "crack_egg": 0.7,
    "whisk_egg": 0.9,
    "pour_oil": 0.6,
    "fry_egg": 1.5,
    "season": 0.5,
    "pour_cereal": 0.7,
    "pour_milk": 0.7,
    "stir": 0.7,
    "cut_fruit": 1.3,
    "cut_bread": 1.0,
    "spread_butter": 1.0,
    "boil_water": 1.4,
    "add_teabag": 0.6,
    "serve": 0.7,
}
"""Class name -> mean duration, in units that are scaled to the wished video length."""

CONFUSABLE: tuple[tuple[str, ...], ...] = (
    (BACKGROUND, "serve"),
    ("take_bowl", "take_pan", "take_cup"),
    ("crack_egg", "season", "add_teabag"),
    ("whisk_egg", "stir"),
    ("pour_oil", "pour_milk", "pour_cereal"),
    ("fry_egg", "boil_water"),
    ("cut_fruit", "cut_bread", "spread_butter"),
)
"""Classes that look alike in a single frame."""


@dataclass(frozen=True)
class Optional:
    """Steps that happen with a probability, which each person shifts by habit."""

    steps: tuple[Node, ...]
    probability: float


@dataclass(frozen=True)
class AnyOrder:
    """Steps whose order is free; each person prefers one."""

    steps: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """Steps done ``low``..``high`` times in a row."""

    steps: tuple[Node, ...]
    low: int
    high: int


Node: TypeAlias = "str | tuple[Node, ...] | Optional | AnyOrder | Repeat"
"""A step, a sequence, or one of the above."""

RECIPES: dict[str, tuple[Node, ...]] = {
    "omelette": (
        "take_bowl",
        Repeat(("crack_egg", "whisk_egg"), 2, 3),
        AnyOrder((Optional(("season", "whisk_egg"), 0.6), Optional(("pour_milk", "whisk_egg"), 0.5))),
        ("take_pan", "pour_oil", "fry_egg"),
        Optional(("season", "fry_egg"), 0.5),
        AnyOrder((("cut_bread", "spread_butter"), Optional(("take_cup", "pour_milk"), 0.6))),
        "serve",
    ),
    "fried_egg": (
        "take_pan",
        AnyOrder((("pour_oil",), ("cut_bread", "spread_butter"))),
        Repeat(("crack_egg", "fry_egg"), 2, 3),
        Optional(("season",), 0.7),
        ("boil_water", "take_cup", "add_teabag"),
        Optional(("pour_milk", "stir"), 0.5),
        "serve",
    ),
    "cereal": (
        "take_bowl",
        AnyOrder(("pour_cereal", Repeat(("cut_fruit", "stir"), 1, 2))),
        ("pour_milk", "stir"),
        Optional(("pour_cereal", "stir"), 0.5),
        AnyOrder((("boil_water", "take_cup", "add_teabag"), Optional(("cut_bread", "spread_butter"), 0.6))),
        Optional(("serve",), 0.6),
    ),
    "fruit_salad": (
        "take_bowl",
        Repeat(("cut_fruit", "stir"), 3, 4),
        AnyOrder((Optional(("pour_milk", "stir"), 0.6), Optional(("pour_cereal", "stir"), 0.5))),
        "cut_fruit",
        "serve",
        Optional(("take_cup", "pour_milk"), 0.5),
    ),
    "tea_and_toast": (
        "boil_water",
        AnyOrder((("take_cup", "add_teabag"), Repeat(("cut_bread", "spread_butter"), 1, 2))),
        Optional(("pour_milk",), 0.6),
        "stir",
        Optional(("take_pan", "pour_oil", "crack_egg", "fry_egg"), 0.4),
        Repeat(("spread_butter", "cut_bread"), 1, 2),
        Optional(("serve",), 0.6),
    ),
}
"""Recipe -> what is done, in order; all are equally likely."""


def expected_length(node: Node, pause: float) -> float:
    """Mean duration of a node, in the units of :data:`CLASSES`; ``pause`` is the mean interruption after each step."""
    if isinstance(node, str):
        return CLASSES[node] + pause
    if isinstance(node, tuple):
        return sum(expected_length(child, pause) for child in node)
    inner = expected_length(node.steps, pause)
    if isinstance(node, Optional):
        return node.probability * inner
    return inner * (node.low + node.high) / 2 if isinstance(node, Repeat) else inner
