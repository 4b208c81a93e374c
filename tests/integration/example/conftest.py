"""What the tests of orchestrators share: running one against a real port."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dadms_orchestrators.bpmn import load_siblings
from dadms_orchestrators.bpmn.orchestrator import ORCHESTRATOR
from tests.integration.example.port_kernel import PortKernel


@pytest.fixture
def run_model(tmp_path: Path) -> Callable[..., PortKernel]:
    """Run a BPMN file with a handlers file to its end; the keywords are the process's configuration and the kernel's."""

    def run(model: Path, handlers: Path | None, **given: Any) -> PortKernel:
        topics = ORCHESTRATOR.load_handlers(str(handlers)) if handlers is not None else []
        config = {
            "model": {"name": str(model), "source": model.read_bytes()},
            "siblings": load_siblings(model),
            "decisions": {path.name: path.read_bytes() for path in model.parent.glob("*.dmn")},
            "variables": given.pop("variables", {}),
            "answers": given.pop("answers", {}),
        }
        return PortKernel(ORCHESTRATOR, config, topics=topics, directory=str(tmp_path), **given).run()

    return run
