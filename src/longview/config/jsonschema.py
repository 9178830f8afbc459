"""The JSON schema of the whole tree, for editors: fixed blocks from the typed schema, the others from every option found."""

from __future__ import annotations

from typing import Any

from longview.config.experiment import Checker
from longview.config.schema import BLOCKS, Experiment
from longview.config.signature import read_signature
from longview.config.validate import annotated
from longview.errors import LongviewError


def tree_schema(checker: Checker) -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a composed experiment; defaults are those of ``conf/``.

    ``task``, ``model`` and ``data`` are an anyOf over the options of their folder, each titled ``group=option``.
    """
    from pydantic import TypeAdapter

    composition = checker.composer.compose([f"{group}=null" for group in checker.conf.optional])  # nobody's recipe
    properties: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    for name, info in Experiment.model_fields.items():
        if name in BLOCKS:
            properties[name] = _options(checker, name)
            continue
        annotation: Any = info.annotation
        if hasattr(annotation, "model_json_schema"):
            schema = annotation.model_json_schema(ref_template="#/$defs/{model}")
            definitions.update(schema.pop("$defs", {}))
        else:
            schema = TypeAdapter(annotated(info)).json_schema()
        if info.description:
            schema["description"] = info.description
        _fill(schema, composition.tree.get(name))
        properties[name] = schema
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "longview experiment",
        "description": "The composed tree: what `python run.py --cfg job` prints and a run directory's config.yaml holds.",
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        "$defs": definitions,
    }


def _fill(schema: dict[str, Any], values: Any) -> None:
    """Write the defaults of the composed tree into a schema."""
    if "properties" not in schema:
        schema["default"] = values
    elif isinstance(values, dict):
        for key, value in values.items():
            if key in schema["properties"]:
                schema["properties"][key].setdefault("default", value)


def _options(checker: Checker, group: str) -> dict[str, Any]:
    options = []
    for option in checker.conf.options(group):
        block = checker.composer.block(group, option)
        if not isinstance(block, dict) or "_target_" not in block:
            continue
        try:
            signature = read_signature(str(block["_target_"]), group)
        except LongviewError:
            continue  # `longview check` names what is wrong with it
        schema = signature.schema.model_json_schema()
        schema["title"] = f"{group}={option}"
        if signature.doc:
            schema["description"] = signature.doc
        target = {"const": signature.target, "title": "class"}
        schema["properties"] = {"_target_": target, **schema.get("properties", {})}
        schema["required"] = ["_target_", *schema.get("required", [])]
        for key, value in block.items():
            if key in schema["properties"] and key != "_target_":
                schema["properties"][key]["default"] = value
        options.append(schema)
    return {"anyOf": options}
