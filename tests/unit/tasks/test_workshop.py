"""What a worker can tell of its memory and its disk."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from tasks import workshop
from tasks.runtime import open_runtime
from tasks.workshop import no_memory_left
from tests.support import road


@pytest.mark.parametrize(
    ("error", "so"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (torch.OutOfMemoryError(), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
            True,
        ),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_says_that_memory_was_not_enough(error: Exception, so: bool) -> None:
    assert no_memory_left(error) == so


def test_the_room_of_a_folder_still_to_be_made_is_its_disks(tmp_path: Path) -> None:
    free, total = workshop._storage(tmp_path / "not" / "made")
    assert 0 < free <= total
    assert total == workshop._storage(tmp_path)[1]


def test_a_disk_that_does_not_answer_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(_: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr("os.statvfs", stale)
    assert workshop._storage(tmp_path) == (0.0, 0.0)


def test_a_worker_computes_on_one_thread(tmp_path: Path) -> None:
    """Numpy's pool as well as torch's: nothing is opened for it."""
    with threadpool_limits(2, user_api="blas"):
        settings = road.settings_for("postgresql+psycopg://nobody@localhost/none", "redis://localhost:1/0", tmp_path)
        shop = workshop.open_workshop(open_runtime(settings, "test"))
        pools = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        assert (pools, torch.get_num_threads()) == ({1}, 1)
        shop.close()
