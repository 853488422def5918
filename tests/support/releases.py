"""Two releases of the house side by side over the same servers: this tree, and a copy altered as a next release might be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alembic.script import ScriptDirectory

from db import migrate

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("alembic", "db", "ml", "ops", "tasks", "webapp")
#: The migration that the next release brings.
NEXT = "9001"
_MIGRATION = """from alembic import op

revision, down_revision = {revision!r}, {before!r}
branch_labels = depends_on = None


def upgrade():
    op.execute("ALTER TABLE jobs ADD COLUMN note text")


def downgrade():
    op.execute("ALTER TABLE jobs DROP COLUMN note")
"""
#: File by file what the next release has in the place of what: each stands there once.
ALTERED: Mapping[str, Sequence[tuple[str, str]]] = {
    # Trainings have a field that a worker must not pass over, so their format rises.
    "tasks/jobs/trainings.py": [
        (
            "of the release before must not pass over.\n    format: ClassVar[int] = 2",
            "of the release before.\n    format: ClassVar[int] = 3",
        ),
        ("return written(self, members)", 'return written(self, members | {"essential": True})'),
    ],
    "tasks/jobs/formats.py": [('"hours": 3}', '"hours": 3, "essential": 3}')],
    "tasks/jobs/questions.py": [
        # Questions have one that it may.
        (
            "times as long.\n        return written(self, {",
            'times as long.\n        return written(self, {"curious": True} | {',
        ),
        # What-ifs are asked under a new kind, of which older workers have not heard.
        ('kind: ClassVar[str] = "what_if"', 'kind: ClassVar[str] = "suppose"'),
    ],
    "tasks/worker.py": [('"what_if": what_if,', '"what_if": what_if,\n    "suppose": what_if,')],
    # Every row of jobs is read with the new column.
    "db/models/jobs.py": [("    retry_of: Mapped[str | None]\n", "    retry_of: Mapped[str | None]\n    note: Mapped[str | None]\n")],
}


def next_release(tree: Path) -> Path:
    """A copy of this tree in `tree`, altered."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, tree / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name, changes in ALTERED.items():
        file = tree / name
        code = file.read_text()
        for old, new in changes:
            assert code.count(old) == 1, f"{name} has changed: {old!r} stands there {code.count(old)} times"
            code = code.replace(old, new)
        file.write_text(code)
    before = ScriptDirectory.from_config(migrate.config()).get_current_head()
    (tree / "alembic" / "versions" / f"{NEXT}_next.py").write_text(_MIGRATION.format(revision=NEXT, before=before))
    return tree


@dataclass
class Release:
    """The processes of one release. Each logs into a file of its own."""

    name: str
    tree: Path
    folder: Path
    environment: Mapping[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self, *words: str) -> str:
        done = subprocess.run(self._command(*words), env=self._told(), cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, process: str, **environment: str) -> None:
        """`worker train`, `web` …; the last word is its name."""
        name = process.rpartition(" ")[2]
        told = self._told() | {"WORKER_NAME": f"{name}@{self.name}"} | environment
        with self._log(name).open("wb") as output:
            self.processes[name] = subprocess.Popen(
                self._command(*process.split()), env=told, cwd=self.folder, stdout=output, stderr=output
            )

    def stop(self, name: str) -> None:
        """As an orchestrator would: SIGTERM, and time to hand back."""
        process = self.processes.pop(name)
        assert process.poll() is None, self.log(name)[-3000:]
        process.terminate()
        process.wait(40)

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait(10)

    def log(self, name: str) -> str:
        return self._log(name).read_text()

    def _log(self, name: str) -> Path:
        return self.folder / f"{self.name}-{name}.log"

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "ops.cli", *words]

    def _told(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        return kept | {"PYTHONPATH": str(self.tree)} | dict(self.environment)
