"""Constructors read from source text: types, defaults, inheritance, and signatures that cannot serve."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import longview.models
import longview.tasks
from longview.config.signature import Signature, TargetError, read_signature
from longview.config.source import SignatureError

IMPORTS = """
import a_module_that_does_not_exist
from typing import ClassVar, Literal
from longview.types import Fraction, FromData, InputDim, NumClasses, PositiveFloat, PositiveInt
from longview.types import PositiveInt as Size
"""


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a module into longview.models (or tasks) and reads class ``C`` of it."""
    monkeypatch.setattr(longview.models, "__path__", [*longview.models.__path__, str(tmp_path)])
    monkeypatch.setattr(longview.tasks, "__path__", [*longview.tasks.__path__, str(tmp_path)])

    def _read(body: str, group: str = "model", name: str = "fixture_module") -> Signature:
        (tmp_path / f"{name}.py").write_text(IMPORTS + body)
        return read_signature(f"longview.{group}s.{name}.C", group)

    return _read


def test_types_and_defaults_without_importing(read: Any) -> None:
    signature = read(
        """
Stage = Literal["first", "last"]
WIDTH = 64
class C:
    '''First line.

    More.'''
    tasks: ClassVar[tuple[str, ...]] = ("anticipation", "segmentation")
    def __init__(self, k: NumClasses, d: InputDim | None, *, width: Size = WIDTH, rate: Fraction, stage: Stage = "first",
                 sizes: tuple[PositiveInt, ...] = (1, 2), pair: tuple[int, str] | None = None, names: list[str] = [],
                 extra: dict[str, float] | None = None, schema: bool = True) -> None: ...
"""
    )
    assert "a_module_that_does_not_exist" not in sys.modules
    assert signature.from_data == {"k": "num_classes", "d": "input_dim"}
    assert signature.tasks == ("anticipation", "segmentation")
    assert signature.doc == "First line."
    values: Any = signature.schema.model_validate({"rate": 0.5, "sizes": [3, 4], "pair": [1, "a"], "extra": {"x": 1}})
    assert (values.width, values.stage, values.sizes, values.pair, values.schema) == (64, "first", (3, 4), (1, "a"), True)
    for wrong in (
        {},
        {"rate": 1.0},
        {"rate": 0.5, "sizes": [1.5]},
        {"rate": 0.5, "pair": ["1", "a"]},
        {"rate": 0.5, "stage": "x"},
    ):
        with pytest.raises(ValidationError):
            signature.schema.model_validate(wrong)


def test_inherited_constructor_and_tasks(read: Any, tmp_path: Path) -> None:
    (tmp_path / "fixture_base.py").write_text(
        "from longview.types import PositiveInt\nclass Base:\n    tasks = ('anticipation',)\n"
        "    def __init__(self, *, depth: PositiveInt = 2) -> None: ...\n"
    )
    signature = read("from longview.models.fixture_base import Base as B\nclass Middle(B): ...\nclass C(Middle): ...\n")
    assert signature.names == ["depth"]
    assert signature.tasks == ("anticipation",)


def test_class_without_constructor(read: Any) -> None:
    assert read("class C: ...\n").names == []


def test_task_takes_configuration_by_keyword_only(read: Any) -> None:
    signature = read(
        "class C:\n    def __init__(self, model: object, description: object, *, lr: float = 0.1) -> None: ...\n", "task"
    )
    assert signature.names == ["lr"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("class C:\n    def __init__(self, x) -> None: ...\n", ":7: parameter 'x' has no annotation"),
        ("class C:\n    def __init__(self, x: Path) -> None: ...\n", ":7: annotation 'Path' of parameter 'x' cannot serve"),
        ("class C:\n    def __init__(self, **more: int) -> None: ...\n", ":7: 'more'"),
        ("class C:\n    def __init__(self, x: int = f()) -> None: ...\n", ":7: 'x' must be a literal, not 'f()'"),
        ("class C(:\n", "not valid Python"),
    ],
)
def test_unreadable_signature_names_file_and_line(read: Any, body: str, text: str) -> None:
    with pytest.raises(SignatureError, match=r"fixture_module\.py") as caught:
        read(body)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "longview.types.FromData",
        "longview.models",
        "longview.modelsx.manta.Manta",
        "Manta",
        "..x",
        "longview.models..x",
    ],
)
def test_foreign_target_is_refused(target: str) -> None:
    with pytest.raises(TargetError):
        read_signature(target, "model")
