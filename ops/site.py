"""The pages of the documentation site, gathered into a folder from which `make docs` builds it: those of docs/ and those that are made.

Made are the front page (the README), the settings, the HTTP reference. Nothing is opened: the OpenAPI document and the table of settings
come from the program without a server.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from ops import reference
from ops.doctor import settings_table
from tasks.runtime import open_runtime
from tasks.settings import Settings
from webapp.app import create_app

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
#: Nobody listens there, and nobody is called.
NOWHERE = Settings(database_url="postgresql+psycopg://nobody@127.0.0.1:1/none", redis_url="redis://127.0.0.1:1/0")
#: Files of the root that are pages of the site.
FROM_ROOT = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "client/README.md": "client.md"}
#: Sections of the README that are pages of their own here.
ELSEWHERE = ("Settings",)
SETTINGS, REFERENCE, DECISIONS = "settings.md", "reference", "decisions/index.md"
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")
#: The one drawing in Mermaid, whose script would have to be fetched, and the picture that stands in its place.
_MERMAID = re.compile(r"^```mermaid\n.*?^```$", re.DOTALL | re.MULTILINE)
STATES = "![The states of a job, and who takes it from one to another](images/lifecycle.svg)"
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)


def main() -> None:
    """Fill the folder that the command names, which is emptied first."""
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS / "images", folder / "images", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for page, text in pages():
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        (folder / page).write_text(text)


def pages() -> Iterator[tuple[str, str]]:
    """Each page by its place on the site, with links as they are there."""
    for path in sorted(DOCS.rglob("*.md")):
        page = path.relative_to(DOCS).as_posix()
        yield page, _as_on_the_site(path.read_text(), f"docs/{page}", page)
    for name, page in FROM_ROOT.items():
        yield page, _as_on_the_site(_shortened((ROOT / name).read_text()), name, page)
    yield SETTINGS, f"# Settings\n\nEach is an environment variable. `fleetcast settings` prints this table.\n\n{settings_table()}\n"
    yield DECISIONS, _decisions()
    for name, text in _reference().items():
        yield f"{REFERENCE}/{name}.md", text


def _reference() -> dict[str, str]:
    runtime = open_runtime(NOWHERE, "site")
    return reference.pages(create_app(runtime).test_client().get("/openapi.json").get_json())


def _decisions() -> str:
    """A list of them all, each by its title."""
    found = {path.name: _TITLE.search(path.read_text()) for path in sorted((DOCS / "decisions").glob("*.md"))}
    titles = [f"* [{title[1]}]({name})" for name, title in found.items() if title is not None]
    return "\n".join(["# Decisions", "", "What was chosen, what was measured, what it costs.", "", *titles, ""])


def _shortened(text: str) -> str:
    first, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    return first + "".join(section for section in sections if section.partition("\n")[0].removeprefix("## ") not in ELSEWHERE)


def _as_on_the_site(markdown: str, source: str, page: str) -> str:
    """What leads to a page leads there; of what is only in the repository the words are left."""

    def relink(link: re.Match[str]) -> str:
        text, target, anchor = link.groups(default="")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        inside = FROM_ROOT.get(place) or (place.removeprefix("docs/") if place.startswith("docs/") else None)
        inside = DECISIONS if inside == posixpath.dirname(DECISIONS) else inside
        return text if inside is None else f"[{text}]({posixpath.relpath(inside, posixpath.dirname(page) or '.')}{anchor})"

    return _MERMAID.sub(STATES, _LINK.sub(relink, markdown))


if __name__ == "__main__":
    main()
