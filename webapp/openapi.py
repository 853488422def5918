"""The OpenAPI document: served at /openapi.json, listed at /docs, with a page for every problem code."""

from __future__ import annotations

from typing import Any

from flask import Flask, render_template
from flask_smorest import Api as SmorestApi
from flask_smorest.utils import prepare_response
from marshmallow import fields

from tasks.problems import CATALOGUE
from webapp.bodies import Blueprint
from webapp.paths import NameConverter, name_schema
from webapp.problems import MEDIA_TYPE, Refusal
from webapp.schemas.fields import Out
from webapp.schemas.problems import Problem

blp = Blueprint("docs", __name__, description="Pages for people")

#: Answers that views declare for validation errors, and every view's default.
_DECLARED = ("UNPROCESSABLE_ENTITY", "UNPROCESSABLE_CONTENT", "DEFAULT_ERROR")


class Api(SmorestApi):  # type: ignore[misc]  # untyped
    """flask-smorest's document with our errors in place of its own, which `webapp.problems` answers."""

    def _register_error_handlers(self) -> None:
        """Ours are registered with the app."""

    def _register_responses(self) -> None:
        for name in _DECLARED:
            response = {"description": "A problem (RFC 9457).", "schema": Problem}
            prepare_response(response, self.spec, MEDIA_TYPE)
            self.spec.components.response(name, response, lazy=True)


def make_api(app: Flask) -> Any:
    app.config.update(
        API_TITLE="Fleetcast",
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/",
        API_SPEC_OPTIONS={
            "info": {"description": "Forecasts for a fleet of entities, as jobs on a queue."},
            "security": [{"key": []}],
        },
    )
    api = Api(app)
    api.register_converter(NameConverter, name_schema)
    api.spec.components.security_scheme("key", {"type": "http", "scheme": "bearer", "description": "fk_<id>_<secret>"})
    return api


class Cause(Out):
    """What a problem code means."""

    code = fields.String()
    status = fields.Integer()
    title = fields.String()
    fix = fields.String()
    retryable = fields.Boolean()


@blp.route("/problems/<code>")
@blp.response(200, Cause)
@blp.doc(security=[])
def get_problem(code: str) -> dict[str, Any]:
    """Cause and fix of a problem code"""
    kind = CATALOGUE.get(code)
    if kind is None:
        raise Refusal("not_found", "There is no problem of that code.")
    return {"code": code, "status": kind.status, "title": kind.title, "fix": kind.fix, "retryable": kind.retryable}


def add_pages(app: Flask, api: Any) -> None:
    """/docs: a plain list of what there is, until Swagger UI's assets come in a package."""

    @app.route("/docs")
    def docs() -> str:
        operations = [
            (method.upper(), path, operation.get("summary", ""))
            for path, item in api.spec.to_dict()["paths"].items()
            for method, operation in item.items()
            if method in ("get", "post", "put", "delete")
        ]
        return render_template("docs.html", operations=operations, problems=CATALOGUE)
