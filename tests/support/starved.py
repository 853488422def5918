"""A worker that answers one doorbell in a process of its own, which may be given less memory or less disk than the job needs."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

from tasks import logs
from tasks.environment import environment, inherited, load
from tasks.execute import run
from tasks.runtime import open_runtime
from tasks.workshop import Workshop, open_workshop
from tests.support.road import HANDLERS

#: A disk that this process alone sees: it needs no more rights than to have a user namespace of one's own.
_MOUNT = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"'


def answer(shop: Workshop, job_id: str, *, spare: int | None = None, disk: str | None = None) -> list[str]:
    """Let such a process answer the job's bell. The files it left on its shelf.

    `spare`: bytes of address space it may take beyond what it has once it is open. `disk`: options of a tmpfs to keep artefacts on.
    """
    words = [sys.executable, "-m", "tests.support.starved", job_id, *([] if spare is None else ["--spare", str(spare)])]
    if disk is not None:
        shop.settings.model_dir.mkdir(exist_ok=True)
        words = ["unshare", "-rm", "sh", "-c", _MOUNT, "sh", disk, str(shop.settings.model_dir), *words]
    told = inherited() | environment(shop.settings)
    done = subprocess.run(words, env=told, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()


def can_mount(folder: Path) -> bool:
    """Whether this user may have a disk of their own here."""
    try:
        tried = ["unshare", "-rm", "sh", "-c", _MOUNT, "sh", "size=64k", str(folder), "true"]
        return subprocess.run(tried, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def main() -> None:
    told = argparse.ArgumentParser()
    told.add_argument("job")
    told.add_argument("--spare", type=int)
    asked = told.parse_args()
    settings = load()
    logs.configure(settings)
    shop = open_workshop(open_runtime(settings, "starved", connections=10))
    if asked.spare is not None:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + asked.spare, taken + asked.spare))
    run(shop, HANDLERS, asked.job, f"{asked.job}:1")
    left = [path for path in shop.settings.model_dir.rglob("*") if path.is_file() or path.name.startswith(".tmp-")]
    sys.stdout.write("\n".join(path.name for path in left))
    shop.runtime.close()


if __name__ == "__main__":
    main()
