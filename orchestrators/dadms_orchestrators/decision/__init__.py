"""The decision engine: DMN 1.3 to 1.5 models with full FEEL, usable as a library.

>>> model = load_model(Path("loan.dmn").read_bytes(), name="loan")
>>> evaluate(model, "Approval", {"amount": 1000, "term": 12}).value
"""

from dadms_orchestrators.decision.errors import DecisionError, LimitExceeded, Place
from dadms_orchestrators.decision.evaluation import Evaluation, evaluate
from dadms_orchestrators.decision.findings import Finding
from dadms_orchestrators.decision.jsonvalues import to_json_value
from dadms_orchestrators.decision.model import Model, load_model
from dadms_orchestrators.decision.validation import validate

__all__ = [
    "DecisionError",
    "Evaluation",
    "Finding",
    "LimitExceeded",
    "Model",
    "Place",
    "evaluate",
    "load_model",
    "to_json_value",
    "validate",
]
