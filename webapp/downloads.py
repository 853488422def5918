"""Downloads: an artefact as one zip, the same bytes each time."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from io import BytesIO

from flask import Response, request

from ml.shelf import Taken
from webapp.negotiate import ZIP

#: A zip must name a time, and any but a fixed one would make other bytes of the same files. This is the earliest that it can name.
_TIMELESS = (1980, 1, 1, 0, 0, 0)


def download(taken: Taken, name: str, sha256: str) -> Response:
    """The artefact as `name`.zip with one folder `name`; 304 for whoever has it."""
    content = _zip(taken, name)
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    headers = {"Content-Disposition": f"attachment; filename={name}.zip", "Content-Digest": f"sha-256=:{digest}:"}
    response = Response(content, content_type=ZIP, headers=headers)
    response.set_etag(sha256)
    response.make_conditional(request)
    return response


def _zip(taken: Taken, name: str) -> bytes:
    """Stored, not compressed: weights are noise to a compressor."""
    made = BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as opened:
        for inner, content in sorted(taken.files.items()):
            opened.writestr(zipfile.ZipInfo(f"{name}/{inner}", _TIMELESS), content)
    return made.getvalue()
