"""Models and their versions: look, move the flag, download, prune, and bring a base from elsewhere."""

from __future__ import annotations

import base64
import hashlib

import httpx

from fleetcast_client.answers.models import Activation, Model, Version
from fleetcast_client.asking import Activation as Mode
from fleetcast_client.errors import ConnectionFailed
from fleetcast_client.http import Ask, Http, below
from fleetcast_client.pages import Pages

ZIP = "application/zip"


class Models:
    """`client.models`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def get(self, model_id: str) -> Model:
        """A model with the version that serves and the latest one."""
        return Model.read(self._http.json("GET", below("models", model_id)))

    def list(
        self,
        *,
        entity: str | None = None,
        name: str | None = None,
        kind: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[Model]:
        """Models, oldest first; `kind` is forecast, anomaly or base."""
        query = {"entity": entity, "name": name, "kind": kind, "limit": limit, "cursor": cursor}
        return Pages(self._http, below("models"), Model.read, query)

    def versions(self, model_id: str, *, limit: int | None = None, cursor: str | None = None) -> Pages[Version]:
        """A model's versions, newest first, pruned ones too."""
        return Pages(self._http, below("models", model_id, "versions"), Version.read, {"limit": limit, "cursor": cursor})

    def version(self, model_id: str, semver: str) -> Version:
        """A version: metrics, spec, data span, gate verdict, warnings."""
        return Version.read(self._http.json("GET", below("models", model_id, "versions", semver)))

    def activate(self, model_id: str, version: str, *, reason: str | None = None, if_match: str | None = None) -> Version:
        """Make a version the one that serves. `if_match` is the version that you think serves now: Conflict if another one does."""
        headers = {} if if_match is None else {"If-Match": f'"{if_match}"'}
        body = {"version": version, "reason": reason}
        return Version.read(self._http.json("POST", below("models", model_id, "activate"), body, headers=headers))

    def rollback(self, model_id: str, *, reason: str | None = None) -> Version:
        """Go back to the version that served before; again, to the one before that.

        Never sent twice: after ConnectionFailed, `activations` says whether it was done.
        """
        return Version.read(self._http.json("POST", below("models", model_id, "rollback"), {"reason": reason}, again=False))

    def activations(self, model_id: str, *, limit: int | None = None, cursor: str | None = None) -> Pages[Activation]:
        """Who moved the flag, when, why, from where to where; newest first."""
        return Pages(self._http, below("models", model_id, "activations"), Activation.read, {"limit": limit, "cursor": cursor})

    def prune(self, model_id: str, semver: str) -> None:
        """Have a version's artefact removed; the active one is refused with Conflict."""
        self._http.send(Ask(method="DELETE", path=below("models", model_id, "versions", semver)))

    def download(self, model_id: str, semver: str, *, unless: str | None = None) -> bytes | None:
        """A version's weights, manifest, history and summary as a zip, checked against its digest.

        None when it is the one whose `artefact.sha256` is `unless`.
        """
        headers = {} if unless is None else {"If-None-Match": f'"{unless}"'}
        path = below("models", model_id, "versions", semver, "artefact")
        response = self._http.send(Ask(method="GET", path=path, headers=headers))
        return None if response.status_code == 304 else _whole(response)

    def import_base(self, name: str, parcel: bytes, *, activation: Mode | None = None) -> Version:
        """Bring a network that was learned elsewhere, or that `download` gave, as a base. The same network again is the same version."""
        query = {"name": name, "activation": activation}
        ask = Ask(method="POST", path=below("models", "import"), query=query, headers={"Content-Type": ZIP}, content=parcel)
        return Version.read(self._http.send(ask).json())


def _whole(response: httpx.Response) -> bytes:
    digest = base64.b64encode(hashlib.sha256(response.content).digest()).decode()
    if response.headers.get("Content-Digest") != f"sha-256=:{digest}:":
        raise ConnectionFailed("The artefact came damaged: it is not what its digest says.")
    return response.content
