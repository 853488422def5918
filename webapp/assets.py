"""The files that pages are made of: ours, and those of installed packages. Nothing comes from elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path

from flask import Flask, Response, request, send_file

from webapp.problems import Refusal

#: What every page begins its policy with: nothing is let in that is not named after it.
NOTHING = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
#: Files of packages, by package and by where they lie in it. A package is found without being imported, which would read all of it.
PACKAGED: Mapping[str, tuple[str, str]] = {
    **{name: ("offapi", f"offapi/{name}") for name in ("swagger_bundle.js", "swagger_preset.js", "swagger_style.css", "redoc.js")},
    "uplot.js": ("youplot", "youplot/vendor/uplot.iife.min.js"),
    "uplot.css": ("youplot", "youplot/vendor/uplot.min.css"),
}
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_YEAR_S = 365 * 86_400


def add_assets(app: Flask) -> None:
    """Serve them under `/assets/`. Templates name them by `asset(name)`, with their version: such an address is kept for a year."""
    assets = _packaged() | _own()
    app.jinja_env.globals["asset"] = lambda name: f"/assets/{name}?v={assets[name][1]}"

    @app.route("/assets/<name>")
    def asset(name: str) -> Response:
        if name not in assets:
            raise Refusal("not_found", "The pages have no such file.")
        path, version = assets[name]
        kept = request.args.get("v") == version  # any other file is asked for by another address
        response = send_file(path, mimetype=_TYPES[path.suffix], etag=version, max_age=_YEAR_S if kept else 0)
        response.cache_control.immutable = kept
        return response


def _packaged() -> dict[str, tuple[Path, str]]:
    """Each file: where it lies, and its version."""
    found = {name: (distribution(package), place) for name, (package, place) in PACKAGED.items()}
    return {name: (Path(str(package.locate_file(place))), package.version) for name, (package, place) in found.items()}


def _own() -> dict[str, tuple[Path, str]]:
    folder = Path(__file__).with_name("static")
    return {path.name: (path, hashlib.sha256(path.read_bytes()).hexdigest()[:16]) for path in folder.iterdir() if path.suffix in _TYPES}
