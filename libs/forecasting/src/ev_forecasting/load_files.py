"""Keeps fitted load models in files that cannot run code (skops), with what they were fitted on.

Only the types of the models themselves are accepted: a pickle, a foreign file or one that was altered is an error.
"""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from skops import io as skops_io

from ev_forecasting.load import LinearModel, LoadModel

FORMAT = 1
"""Form of the files that are written; others are refused."""

_TRUSTED = frozenset({"sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"})
"""Types beyond those that skops knows, all of them data of boosted trees."""

_MAX_BYTES = 64 * 1024 * 1024


class LoadModelFileError(ValueError):
    """A file holds no load model that can be used; says why and what to do."""


def encode_model(model: LoadModel) -> bytes:
    """Encode a model with the versions that wrote it."""
    linear = model.linear
    content: dict[str, Any] = {
        "format": FORMAT,
        "written_by": _describe_versions(),
        "lead_days": model.lead_days,
        "intervals_per_day": model.intervals_per_day,
        "feature_names": list(model.feature_names),
        "trees": list(model.trees),
        "coefficients": None if linear is None else linear.coefficients,
        "intercepts": None if linear is None else linear.intercepts,
        "share": model.share,
        "baseline": model.baseline,
        "corrects_bias": model.corrects_bias,
        "errors": model.errors,
        "holdout_mae": dict(model.holdout_mae),
        "trained_until": model.trained_until.timestamp(),
        "training_days": model.training_days,
    }
    return skops_io.dumps(content)


def read_model(path: Path) -> LoadModel:
    """Read a model.

    Args:
        path: file with the bytes of `encode_model`.

    Raises:
        LoadModelFileError: it cannot be read, is of another form or version, or holds anything else than a model.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise LoadModelFileError(f"{path.name} is longer than {_MAX_BYTES} bytes")
        data = path.read_bytes()
        foreign = set(skops_io.get_untrusted_types(data=data)) - _TRUSTED
        if foreign:
            raise LoadModelFileError(f"{path.name} holds types that no load model has: {', '.join(sorted(foreign))}")
        content: Any = skops_io.loads(data, trusted=sorted(_TRUSTED))
        return _decode(content, path.name)
    except OSError as error:
        raise LoadModelFileError(f"{path.name} cannot be read: {error.strerror}") from error
    except LoadModelFileError:
        raise
    except (BadZipFile, KeyError, TypeError, ValueError, AttributeError, EOFError, NotImplementedError) as error:
        raise LoadModelFileError(f"{path.name} holds no load model ({type(error).__name__}); train again") from error


def _decode(content: Any, name: str) -> LoadModel:
    if content["format"] != FORMAT:
        raise LoadModelFileError(f"{name} is of another form than {FORMAT}; train again")
    if content["written_by"] != _describe_versions():
        raise LoadModelFileError(f"{name} was written by {content['written_by']}; train again")
    coefficients, linear = content["coefficients"], None
    if coefficients is not None:
        linear = LinearModel(np.asarray(coefficients), np.asarray(content["intercepts"]))
    model = LoadModel(
        lead_days=int(content["lead_days"]),
        intervals_per_day=int(content["intervals_per_day"]),
        feature_names=tuple(map(str, content["feature_names"])),
        trees=tuple(content["trees"]),
        linear=linear,
        share=float(content["share"]),
        baseline=str(content["baseline"]),
        corrects_bias=bool(content["corrects_bias"]),
        errors=np.asarray(content["errors"], dtype=np.float64),
        holdout_mae={str(key): float(value) for key, value in content["holdout_mae"].items()},
        trained_until=datetime.fromtimestamp(float(content["trained_until"]), UTC),
        training_days=int(content["training_days"]),
    )
    if model.errors.ndim != 2 or model.errors.shape[1] != model.intervals_per_day:
        raise LoadModelFileError(f"{name} has errors of another shape than its days; train again")
    return model


def _describe_versions() -> str:
    """Versions that must be alike where a model is written and read."""
    return f"ev-forecasting {version('ev-forecasting')}, scikit-learn {version('scikit-learn')}"
