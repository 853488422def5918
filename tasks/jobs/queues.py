"""The queues that jobs wait in, and which kind of worker serves which."""

from __future__ import annotations

from collections.abc import Mapping

INTERACTIVE, BATCH, TRAIN = "interactive", "batch", "train"
QUEUES = (INTERACTIVE, BATCH, TRAIN)
#: The queues that each kind of worker serves.
SERVES: Mapping[str, tuple[str, ...]] = {"interactive": (INTERACTIVE, BATCH), "train": (TRAIN,)}

#: Shape of the predictions of a batch: any of them may be answered together; which networks are of one shape shows when they are loaded.
JOINED = "predictions"
