"""From command line and YAML to a checked, typed experiment. Nothing here imports torch, Lightning or numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longview.config.schema import Experiment

__all__ = ["load"]


def load(tree: Mapping[str, Any]) -> Experiment:
    """The typed experiment of a resolved tree (a run's config.yaml); only the schema is checked, not machine or data.

    Raises:
        ConfigError: With everything that is wrong.
    """
    from longview.config.validate import validate  # pydantic is imported only where it is needed
    from longview.errors import ConfigError

    validated = validate(tree)
    if validated.problems:
        raise ConfigError(validated.problems)
    return validated.experiment()
