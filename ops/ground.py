"""Where the servers stand and whom they run as: Postgres refuses root, so root lends them to `nobody`, on ground `nobody` can enter."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ops.processes import Account, StackError, run

SHELTER = Path("/var/lib/fleetcast")  # root's own place for data and programs that `nobody` must reach
RECORD = "folder"  # in a place of the shelter, the file that names the folder it serves
SERVANT = "nobody"
GIVE_URLS = "or give DATABASE_URL and REDIS_URL of servers that run already."


@dataclass(frozen=True)
class Program:
    """An executable and what has to travel with it, keeping its place below `root`; without luggage it cannot be moved."""

    path: Path
    root: Path
    luggage: tuple[Path, ...] = ()


def servers_account() -> Account:
    uid = os.geteuid()
    try:
        if uid:
            pwd.getpwuid(uid)
            return Account()
        servant = pwd.getpwnam(SERVANT)
    except KeyError:
        who = f"uid {uid} has no entry in the passwd database" if uid else f"there is no user {SERVANT} to run them as root"
        raise StackError(f"{who}, and Postgres refuses to run like that; use a named user, {GIVE_URLS}") from None
    return Account(servant.pw_uid, servant.pw_gid)


def default_folder() -> Path:
    if os.geteuid() == 0:
        return SHELTER / "default"
    try:
        return Path.home() / ".local" / "state" / "fleetcast"
    except RuntimeError as error:
        raise StackError(f"uid {os.geteuid()} has no home folder; name a folder for the embedded servers, {GIVE_URLS}") from error


def open_to_all(folder: Path) -> bool:
    """Whether any user can pass through to what lies in the folder."""
    return all(place.stat().st_mode & stat.S_IXOTH for place in (folder, *folder.parents))


def make_folder(folder: Path, account: Account) -> None:
    if not folder.exists():
        folder.mkdir(parents=True, mode=0o700 if account.user is None else 0o711)


def choose_ground(folder: Path, account: Account) -> Path:
    """The folder itself; for root's servers in a folder that `nobody` cannot enter, a new place in the shelter.

    Always a new one: a folder made again under an old name must not wake the data of its predecessor.
    """
    if account.user is None or open_to_all(folder):
        return folder
    ground = Path(tempfile.mkdtemp(prefix="stack-", dir=_shelter()))
    (ground / RECORD).write_bytes(os.fsencode(folder))
    ground.chmod(0o711)
    return ground


def belongs(ground: Path, folder: Path) -> bool:
    """Whether the ground is this folder's own, and not that of the folder it was copied from."""
    return ground == folder or _recorded(ground) == folder


def abandoned(newcomer: Path) -> list[Path]:
    """Places in the shelter whose folder was a temporary one and is gone, or is just being made anew: nobody can come back for them."""
    if os.geteuid():
        return []
    temporary = Path(tempfile.gettempdir()).resolve()
    owners = {file.parent: _recorded(file.parent) for file in SHELTER.glob(f"*/{RECORD}")}
    fleeting = {ground: folder for ground, folder in owners.items() if folder and folder.is_relative_to(temporary)}
    return [ground for ground, folder in fleeting.items() if folder == newcomer or not folder.exists()]


def _recorded(ground: Path) -> Path | None:
    try:
        return Path(os.fsdecode((ground / RECORD).read_bytes()))
    except FileNotFoundError:
        return None


def _shelter() -> Path:
    SHELTER.mkdir(parents=True, exist_ok=True)
    _open(SHELTER)
    return SHELTER


def _open(folder: Path) -> None:
    """Let anyone pass through, whatever umask the folder was made under."""
    mode = folder.stat().st_mode
    if not mode & stat.S_IXOTH:
        folder.chmod(stat.S_IMODE(mode) | 0o011)


def package_folder(name: str) -> Path | None:
    """Where a wheel is installed, found without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def settle(program: Program, account: Account) -> tuple[Path, str]:
    """The path at which the account can run the program, and the version it tells; copied out when it lies behind a closed door."""
    try:
        return program.path, run([program.path, "--version"], account)
    except StackError as error:
        if account.user is None or not program.luggage:
            raise StackError(f"{program.path} does not run here ({error}); reinstall it, {GIVE_URLS}") from error
    moved = _copy_out(program)
    return moved, run([moved, "--version"], account)


def _copy_out(program: Program) -> Path:
    """Copy aside, then rename: a half-made copy is never used, and of two copiers one wins."""
    told = program.path.stat()
    key = hashlib.sha256(f"{program.path}\0{told.st_mtime_ns}\0{told.st_size}".encode(errors="surrogateescape")).hexdigest()[:12]
    home = _shelter() / "programs" / f"{program.path.name}-{key}"
    if not home.exists():
        home.parent.mkdir(exist_ok=True)
        _open(home.parent)
        with tempfile.TemporaryDirectory(dir=home.parent, ignore_cleanup_errors=True) as side:
            _pack(program, Path(side) / "new")
            try:
                (Path(side) / "new").rename(home)
            except OSError:
                if not home.exists():
                    raise
    return home / program.path.relative_to(program.root)


def _pack(program: Program, side: Path) -> None:
    for item in program.luggage:
        target = side / item.relative_to(program.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if item.is_dir():
            shutil.copytree(item, target, symlinks=True, ignore=shutil.ignore_patterns("include", "doc", "*.a"))
        else:
            shutil.copy2(item, target)
    for place in (side, *side.rglob("*")):
        if not place.is_symlink():
            mode = place.stat().st_mode
            place.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))
