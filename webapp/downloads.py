"""Downloads: an artefact as one zip, the same bytes each time."""

from __future__ import annotations

import base64
import hashlib

from flask import Response, request

from ml.shelf import Taken, zipped
from webapp.negotiate import ZIP


def download(taken: Taken, name: str, sha256: str) -> Response:
    """The artefact as `name`.zip with one folder `name`; 304 for whoever has it."""
    content = zipped(taken.files, name)
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    headers = {"Content-Disposition": f"attachment; filename={name}.zip", "Content-Digest": f"sha-256=:{digest}:"}
    response = Response(content, content_type=ZIP, headers=headers)
    response.set_etag(sha256)
    response.make_conditional(request)
    return response
