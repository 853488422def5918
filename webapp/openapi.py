"""The OpenAPI document at /openapi.json, its pages for people at /docs and /redoc, and a page for every problem code."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from functools import cache
from inspect import cleandoc
from threading import Lock
from typing import Any

from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Flask, Response, make_response, render_template, request
from flask_smorest import Api as SmorestApi
from marshmallow import Schema, fields

from tasks.problems import CATALOGUE
from tasks.problems.kind import Kind
from webapp.assets import NOTHING
from webapp.contract import EVENTS, Blueprint
from webapp.document import complete
from webapp.paths import NameConverter, name_schema
from webapp.problems import Refusal
from webapp.schemas.parameters import always
from webapp.schemas.problems import Cause, CauseList

blp = Blueprint("docs", __name__, description="What the codes of problems mean")

_ABOUT = """\
Forecasts for a fleet of entities (users, devices, sensors, plants, products), as jobs on a queue.

Send observations, train, and ask for forecasts with intervals or for what-ifs. Whatever takes longer than a moment answers with a \
**job**: poll it with its ETag, wait for it with `?wait=` or `Prefer: wait=n`, or follow its events.

Every request below `/api/v1` needs a key: `Authorization: Bearer fk_…`. Each operation names the scope that the key must have: \
`read`, `write` or `operate`.

Whatever goes wrong is answered with a problem object (RFC 9457); its `code` is one of those at [/problems](/problems). A path that is not \
here answers 404 `not_found`, a method that is not here 405 `method_not_allowed`. Answers may get more members; those there are stay.
"""
_KEY = "A key of a tenant, `fk_<id>_<secret>`, as the operator issued it. Role names are its scopes: read, write, operate."

#: Nothing from elsewhere, and no script but ours. Both pages set styles on elements; ReDoc searches in a worker made from a blob.
_PLAIN = NOTHING + "form-action 'none'; style-src 'self'"
_SWAGGER = _PLAIN + " 'unsafe-inline'; script-src 'self'; img-src 'self' data:; font-src 'self' data:; connect-src 'self'"
_REDOC = _SWAGGER + "; worker-src blob:"


class Api(SmorestApi):  # type: ignore[misc]  # untyped
    """flask-smorest's document with our errors in place of its own, which `webapp.problems` answers."""

    DEFAULT_ERROR_RESPONSE_NAME = None

    def __init__(self, app: Flask, **about: Any) -> None:
        self._untold: list[Blueprint] = []
        super().__init__(app, **about)

    def register_blueprint(self, blp: Blueprint, **options: Any) -> None:
        """With the app at once, and with the document when somebody asks for it: that takes longer than all else of a start."""
        self._app.extensions["flask-smorest"]["blp_name_to_api"][blp.name] = self
        self._app.register_blueprint(blp, **options)
        self._untold.append(blp)

    def document(self) -> dict[str, Any]:
        """What flask-smorest tells of every room. Other requests of the process get a turn between two of them."""
        while self._untold:
            blp = self._untold.pop(0)
            blp.register_views_in_doc(self, self._app, self.spec, name=blp.name, parameters=None)
            self.spec.tag({"name": blp.name, "description": blp.description})
            time.sleep(0)
        return dict(self.spec.to_dict())

    def _register_error_handlers(self) -> None:
        """Ours are registered with the app."""

    def _register_responses(self) -> None:
        """Ours are added by `webapp.document`."""

    def _register_pagination_header(self) -> None:
        """Pages are told in bodies here."""


class Converter(OpenAPIConverter):
    """apispec's, knowing shapes, and taking the sentence of a schema for its description."""

    def init_attribute_functions(self) -> None:
        super().init_attribute_functions()  # type: ignore[no-untyped-call]
        self.attribute_functions.append(self.shapes)

    def shapes(self, field: fields.Field[Any], **_: Any) -> dict[str, Any]:
        """The schemas that a member named by `shaped` can hold."""
        named = [self.resolve_nested_schema(name) for name in field.metadata.get("shapes", ())]  # type: ignore[no-untyped-call]
        if len(named) == 1 and not field.allow_none:
            return dict(named[0])
        nothing = [{"type": "null"}] if field.allow_none else []
        return {"anyOf": named + nothing} if named else {}

    def schema2jsonschema(self, schema: Schema) -> dict[str, Any]:
        told: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        said = vars(type(schema)).get("__doc__")
        return told | {"description": cleandoc(said)} if said and type(schema).__module__.startswith("webapp.") else told


class Plugin(MarshmallowPlugin):
    """apispec's, which finds schemas where OpenAPI has them, knowing also those of events."""

    Converter = Converter

    def operation_helper(self, path: str | None = None, operations: dict[str, Any] | None = None, **about: Any) -> None:
        super().operation_helper(path, operations, **about)
        assert self.converter is not None
        for told in (operations or {}).values():
            if EVENTS in told:
                told[EVENTS] = {event: self.converter.resolve_nested_schema(schema) for event, schema in told[EVENTS].items()}  # type: ignore[no-untyped-call]


def make_api(app: Flask) -> Any:
    app.config.update(
        API_TITLE="Fleetcast",
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        API_SPEC_OPTIONS={"info": {"description": _ABOUT}, "servers": [{"url": "/", "description": "This service."}]},
    )
    api = Api(app, spec_kwargs={"marshmallow_plugin": Plugin()})
    api.register_converter(NameConverter, name_schema)
    api.spec.components.security_scheme("key", {"type": "http", "scheme": "bearer", "description": _KEY})
    return api


@blp.route("/problems")
@blp.response(200, CauseList, headers=always("Vary"))
@blp.alt_response(200, schema={"type": "string"}, content_type="text/html", success=True)
def list_problems() -> Response | tuple[dict[str, Any], dict[str, str]]:
    """List every problem code, with its cause and its fix

    As a page where `Accept` prefers `text/html`, else as JSON.
    """
    if _wants_page():
        return _page("problems.html", _PLAIN, problems=CATALOGUE)
    return {"data": [_cause(code, kind) for code, kind in CATALOGUE.items()]}, {"Vary": "Accept"}


@blp.route("/problems/<code>")
@blp.response(200, Cause, headers=always("Vary"))
@blp.alt_response(200, schema={"type": "string"}, content_type="text/html", success=True)
@blp.refuses("not_found")
def get_problem(code: str) -> Response | tuple[dict[str, Any], dict[str, str]]:
    """Say cause and fix of a problem code

    As a page where `Accept` prefers `text/html`, else as JSON.
    """
    kind = CATALOGUE.get(code)
    if kind is None:
        raise Refusal("not_found", "There is no problem of that code.")
    if _wants_page():
        return _page("problem.html", _PLAIN, code=code, kind=kind)
    return _cause(code, kind), {"Vary": "Accept"}


def _cause(code: str, kind: Kind) -> dict[str, Any]:
    told = ("status", "title", "cause", "fix", "retryable", "in_jobs_only")
    return {"code": code} | {name: getattr(kind, name) for name in told}


def _wants_page() -> bool:
    return request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"


def _page(template: str, policy: str, **about: Any) -> Response:
    response = make_response(render_template(template, **about))
    response.headers.update({"Content-Security-Policy": policy, "Vary": "Accept"})
    return response


def add_pages(app: Flask, api: Any) -> None:
    """The document and the pages that show it, once every route is there."""
    written, one_writes = _written(app, api), Lock()

    @app.route("/openapi.json")
    def openapi_json() -> Response:
        with one_writes:
            document, etag = written()
        response = Response(document, content_type="application/json", headers={"Cache-Control": "no-cache"})
        response.set_etag(etag)
        response.make_conditional(request)
        return response

    @app.route("/docs")
    def docs() -> Response:
        return _page("docs.html", _SWAGGER)

    @app.route("/redoc")
    def redoc() -> Response:
        return _page("redoc.html", _REDOC)


def _written(app: Flask, api: Any) -> Callable[[], tuple[str, str]]:
    """The document and its ETag, which are made by the first call."""

    @cache
    def written() -> tuple[str, str]:
        document = json.dumps(complete(app, api.document()), ensure_ascii=False)
        return document, hashlib.sha256(document.encode()).hexdigest()[:32]

    return written
