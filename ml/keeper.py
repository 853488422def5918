"""The shelf's keeper: what is put there can be read back, also where the same artefact lay there damaged; a full disk is said to be one."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml import shelf
from ml.errors import ArtefactCorrupt, StorageFull
from ml.shelf import Saved

#: What a disk says that takes nothing more: it is full, a quota of it is, or it may only be read.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def keep(root: Path, about: Mapping[str, Any], files: Mapping[str, bytes]) -> Saved:
    """Put an artefact on the shelf, whole or not at all, and read it back. One of the same address that lies there damaged is mended.

    Raises StorageFull; ArtefactCorrupt where the disk gives back other bytes than it was given; OSError for any other fault of it.
    """
    try:
        saved = shelf.put(root, about, files)
        if not _sound(root, saved):
            _mend(root, saved, about, files)
            shelf.take(root, saved.sha256)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        size = sum(len(content) for content in files.values())
        raise StorageFull(f"{size} bytes of an artefact could not be written: {error.strerror}.", bytes=size) from error
    return saved


def _sound(root: Path, saved: Saved) -> bool:
    try:
        shelf.take(root, saved.sha256)
    except ArtefactCorrupt:
        return False
    return True


def _mend(root: Path, saved: Saved, about: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """File by file, each in one step: no reader finds the folder gone, and several may mend it at once, since all bring the same bytes."""
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=root) as aside:
        for file in shelf.put(Path(aside), about, files).path.iterdir():
            file.replace(saved.path / file.name)
    os.sync()  # the folder's new entries too; this is rare
