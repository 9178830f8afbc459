"""Numbers from the authors' implementations: where they are, and the tolerances of their README."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

ROOT = Path(os.environ.get("LONGVIEW_PARITY", Path(__file__).parents[3] / "shared" / "parity"))


@pytest.fixture
def dump(request: pytest.FixtureRequest) -> Any:
    """Load ``<name>.pt`` of the parity folder; skip where the folder is absent."""

    def load(name: str) -> dict[str, Any]:
        path = ROOT / f"{name}.pt"
        if not path.exists():
            pytest.skip(f"parity numbers not found: {path} (set LONGVIEW_PARITY)")
        loaded: dict[str, Any] = torch.load(path, weights_only=True)
        return loaded

    return load


@pytest.fixture
def close() -> Any:
    """Outputs: |a - ref| <= 1e-5 + 1e-4 |ref|; returns the largest absolute difference."""

    def check(actual: Tensor, reference: Tensor) -> float:
        torch.testing.assert_close(actual, reference, rtol=1e-4, atol=1e-5)
        return float((actual.detach() - reference).abs().max())

    return check


@pytest.fixture
def gradients_close() -> Any:
    """Gradients: |g - ref| <= 1e-4 |ref| + 1e-6 |all ref|, tensor by tensor, and no tensor without a counterpart."""

    def check(actual: dict[str, Tensor], reference: dict[str, Tensor]) -> None:
        assert actual.keys() == reference.keys()
        floor = 1e-6 * torch.stack([g.double().norm() for g in reference.values()]).norm()
        far = {
            name: float((actual[name] - ref).norm())
            for name, ref in reference.items()
            if (actual[name] - ref).double().norm() > 1e-4 * ref.double().norm() + floor
        }
        assert not far, f"gradients off: {far}"

    return check
