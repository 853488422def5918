"""Versions on the wire: what each was made of, how well it did on rows that it never learned from, and what its gate said."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from ml.anomaly.spec import FOREST
from webapp.schemas.fields import Moment, Out
from webapp.schemas.pages import page_of
from webapp.schemas.shapes import FORECASTERS, MODEL_ID, SEMVER, SOMETIMES, shaped


class Scores(Out):
    """Errors of one forecaster on one part; null where there is no such number."""

    n = fields.Integer(metadata={"description": "Pairs of origin and step."})
    mae = fields.Float(allow_none=True)
    rmse = fields.Float(allow_none=True)
    r2 = fields.Float(allow_none=True)
    mape = fields.Float(allow_none=True, metadata={"description": "Percent, over the `mape_n` pairs whose truth is not next to nothing."})
    mape_n = fields.Integer()
    smape = fields.Float(allow_none=True, metadata={"description": "Percent."})
    mase = fields.Float(allow_none=True)
    skill = fields.Float(allow_none=True, metadata={"description": "1 minus the error over that of the best naive baseline."})
    coverage = fields.Float(allow_none=True, metadata={"description": "Share of truths inside the interval."})
    winkler = fields.Float(allow_none=True)


class PartScores(Out):
    """Of the rows that decided who serves, and of those that decided nothing."""

    calibrate = fields.Dict(metadata=shaped("Scores"))
    test = fields.Dict(metadata=shaped("Scores"))


class StopScores(Out):
    """Of a base: the rows that said when to stop, of all its entities. `n` counts these, and the `skill` is over the last value."""

    stop = fields.Dict(metadata=shaped("Scores"))


class BaseMetrics(Out):
    """A network that serves nobody: it stands beside the last value alone."""

    lstm = fields.Dict(metadata=SOMETIMES | shaped("StopScores"))
    seq2seq = fields.Dict(metadata=SOMETIMES | shaped("StopScores"))


class Metrics(Out):
    """What serves, the network under its family's name, and the naive baselines."""

    blend = fields.Dict(metadata=SOMETIMES | shaped("PartScores"))
    lstm = fields.Dict(metadata=SOMETIMES | shaped("PartScores"))
    seq2seq = fields.Dict(metadata=SOMETIMES | shaped("PartScores"))
    persistence = fields.Dict(metadata=shaped("PartScores"))
    seasonal_naive = fields.Dict(metadata=shaped("PartScores"))


class Check(Out):
    """One thing that the gate looked at."""

    name = fields.String(
        validate=validate.OneOf(("skill", "incumbent_ratio", "imported", "held_back_rows")),
        metadata={"description": "`imported`: nobody measured the network here, so it is not met."},
    )
    have = fields.Float(allow_none=True)
    need = fields.Float()
    met = fields.Boolean()


class Verdict(Out):
    """What the version had to reach to become active by itself, and whether it did."""

    passed = fields.Boolean()
    checks = fields.List(fields.Dict(metadata=shaped("Check")))
    production_ready = fields.Boolean(
        allow_none=True, metadata={"description": "A label that decides nothing; null where the recipe has none."}
    )


class Artefact(Out):
    """What a version is on disk."""

    sha256 = fields.String(metadata={"pattern": "^[0-9a-f]{64}$"})
    bytes = fields.Integer()


class Version(Out):
    """One trained instance of a model."""

    version = fields.String(attribute="semver", metadata={"pattern": SEMVER})
    model = fields.String(attribute="model_id", metadata=MODEL_ID)
    active = fields.Boolean(metadata={"description": "It is the one that serves."})
    job = fields.String(attribute="job_id", metadata={"description": "The training that made it, or the import that brought it."})
    recipe = fields.String(allow_none=True)
    target = fields.String()
    spec = fields.Dict(metadata=shaped("Spec", "DetectorSpec"))
    served_by = fields.String(
        validate=validate.OneOf((*FORECASTERS, FOREST)),
        metadata={"description": "`blend`: the network and plainer parts, in shares; a baseline where too few rows were held back."},
    )
    metrics = fields.Dict(
        metadata=shaped(
            "Metrics",
            "BaseMetrics",
            "DetectorMetrics",
            description="Those of a base and of a detector are other ones, and of an imported base there are none.",
        )
    )
    gate = fields.Dict(metadata=shaped("Verdict"))
    warnings = fields.List(fields.Dict(metadata=shaped("Notice")))
    data_from = Moment(allow_none=True, metadata={"description": "First observation it learned from; null of an imported base."})
    data_until = Moment(allow_none=True, metadata={"description": "Last observation it learned from; null of an imported base."})
    source = fields.String(
        allow_none=True, metadata={"description": "Where its training read, and its forecasts read too; null: our own observations."}
    )
    artefact = fields.Method("_artefact", metadata=shaped("Artefact"))
    created_at = Moment()
    pruned_at = Moment(allow_none=True, metadata={"description": "Since when its artefact is gone."})

    def _artefact(self, row: Any) -> dict[str, Any]:
        return {"sha256": row.artefact_sha256, "bytes": row.artefact_bytes}


VersionPage = page_of(Version)
