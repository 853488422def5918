"""The registry: models, their versions, and which version is active."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.orm import Session, defer

from db import audit, deliveries
from db.audit import OPERATOR, By
from db.errors import Conflict, NoActiveVersion, NotFound, Stale
from db.models import Activation, Entity, Json, Model, Version, new_ids
from db.session import ask, together

Mode = Literal["auto", "always", "never"]
#: Which lineage: (entity id, name).
Lineage = tuple[int, str]
Found = TypeVar("Found")

_SEMVER = (Version.major, Version.minor, Version.patch)
_WRITTEN = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})")
# Rows may have changed since this session last read them, while it waited for the model's lock.
_FRESH = {"populate_existing": True}

_ANSWERING = """
SELECT e.id, e.data_rev, m.id, v.id, concat_ws('.', v.major, v.minor, v.patch), v.spec, v.source, v.pruned_at, f.made_at
FROM entities e
LEFT JOIN models m ON m.entity_id = e.id AND m.kind = %(kind)s AND m.name = %(name)s
LEFT JOIN versions v ON v.model_id = m.id AND CASE
  WHEN %(major)s::integer IS NULL THEN v.active
  ELSE (v.major, v.minor, v.patch) = (%(major)s::integer, %(minor)s::integer, %(patch)s::integer)
END
LEFT JOIN forecasts f ON f.version_id = v.id AND f.target = %(name)s AND f.data_rev = e.data_rev
  AND f.horizon = coalesce(%(horizon)s::integer, (v.spec->>'horizon')::integer)
  AND f.level = coalesce(%(level)s::double precision, (v.spec->>'level')::double precision)
WHERE e.tenant_id = %(tenant)s AND e.name = %(entity)s
"""

_MODELS = """
SELECT entity_id, name, id FROM models
WHERE tenant_id = %(tenant)s AND kind = %(kind)s AND entity_id = ANY(%(entities)s::bigint[]) AND name = ANY(%(names)s::text[])
"""

_MAKE = """
INSERT INTO models (id, tenant_id, kind, entity_id, name)
SELECT id, %(tenant)s, %(kind)s, entity_id, name
FROM unnest(%(ids)s::text[], %(entities)s::bigint[], %(names)s::text[]) AS made (id, entity_id, name)
ON CONFLICT DO NOTHING RETURNING entity_id, name, id
"""

_SOURCES = """
SELECT m.entity_id, m.name, v.source FROM models m JOIN versions v ON v.model_id = m.id AND v.active AND v.source IS NOT NULL
WHERE m.tenant_id = %(tenant)s AND m.kind = %(kind)s AND m.entity_id = ANY(%(entities)s::bigint[]) AND m.name = ANY(%(names)s::text[])
"""


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A trained version on its way into the registry; the fields are those of `db.models.Version`."""

    job_id: str
    fence: int
    recipe: str | None
    target: str
    spec: Json
    spec_hash: str
    signature: str
    served_by: str
    metrics: Json
    gate: Json
    warnings: list[Json]
    artefact_sha256: str
    artefact_bytes: int
    data_from: datetime | None
    data_until: datetime | None
    reference: Json | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Answering:
    """Which version answers for an entity and a model, and how far the entity's data have come."""

    entity_id: int
    data_rev: int
    model_id: str
    version_id: str
    semver: str
    spec: Json
    #: Where its training read; None is the built-in store.
    source: str | None
    #: When a forecast of these steps at this level was made by this version from all the data there are; None: it was not.
    made_at: datetime | None


@dataclass(frozen=True, slots=True)
class Heads:
    """What a list of models shows of each."""

    entity: str
    active: Version | None
    latest: Version | None


def ensure_model(session: Session, tenant_id: str, entity_id: int, name: str, kind: str = "forecast") -> Model:
    """The lineage, made where missing."""
    found = find_model(session, tenant_id, entity_id, name, kind)
    if found is not None:
        return found
    new = insert(Model).values(tenant_id=tenant_id, entity_id=entity_id, name=name, kind=kind)
    made: Model | None = session.scalar(new.on_conflict_do_nothing().returning(Model))
    # Neither found nor made: somebody else made it in between, and committed; or it is another tenant's.
    return _found(made or find_model(session, tenant_id, entity_id, name, kind), "entity", str(entity_id))


def ensure_models(session: Session, tenant_id: str, wanted: Collection[Lineage], kind: str = "forecast") -> dict[Lineage, str]:
    """The lineages of many (entity id, name), made where missing, as model ids. One statement however many there are."""
    known = find_models(session, tenant_id, wanted, kind)
    missing = sorted(set(wanted) - known.keys())  # in order, so that two that make the same ones wait for each other in a row
    if not missing:
        return known
    together(session)
    owners, names = (list(column) for column in zip(*missing, strict=True))
    made = ask(session, _MAKE, {"tenant": tenant_id, "kind": kind, "ids": new_ids("mdl", len(missing)), "entities": owners, "names": names})
    known |= {(entity_id, name): model_id for entity_id, name, model_id in made}
    return known if len(made) == len(missing) else find_models(session, tenant_id, wanted, kind)  # others made some meanwhile


def find_models(session: Session, tenant_id: str, wanted: Collection[Lineage], kind: str = "forecast") -> dict[Lineage, str]:
    """Those of the lineages that there are."""
    asked = {"entities": [entity_id for entity_id, _ in wanted], "names": list({name for _, name in wanted})}
    found = ask(session, _MODELS, {"tenant": tenant_id, "kind": kind, **asked})
    return {(entity_id, name): model_id for entity_id, name, model_id in found}


def sources(session: Session, tenant_id: str, wanted: Collection[Lineage], kind: str = "forecast") -> dict[Lineage, str]:
    """Where the active versions of these lineages read, of those that do not read our own observations."""
    asked = {"entities": list({entity_id for entity_id, _ in wanted}), "names": list({name for _, name in wanted})}
    found = ask(session, _SOURCES, {"tenant": tenant_id, "kind": kind, **asked})
    return {(entity_id, name): source for entity_id, name, source in found}


def publish(
    session: Session, tenant_id: str, model_id: str, new: NewVersion, *, activation: Mode, gate_passed: bool, actor: str
) -> Version:
    """Write a version down under the next number, and make it active if it may be. A job's second call finds what the first wrote."""
    model = _lock(session, tenant_id, model_id)
    done = session.scalar(sa.select(Version).where(Version.model_id == model.id, Version.job_id == new.job_id))
    if done is not None:
        return done
    major, minor, patch = _next_number(_highest(session, model), new)
    published = Version(tenant_id=tenant_id, model_id=model.id, major=major, minor=minor, patch=patch, active=False, **asdict(new))
    session.add(published)
    session.flush()
    current = _active(session, model)
    if _takes_over(new, current, activation, gate_passed):
        _move(session, current, published, kind="publish", reason=None, actor=actor)
    return published


def holding(session: Session, tenant_id: str, model_id: str, artefact_sha256: str) -> Version | None:
    """The version of the model that has this artefact. The model's row stays locked, so that nobody publishes another one meanwhile."""
    model = _lock(session, tenant_id, model_id)
    held = sa.select(Version).where(Version.model_id == model.id, Version.artefact_sha256 == artefact_sha256, Version.pruned_at.is_(None))
    return session.scalar(held.order_by(*_newest_first()).limit(1), execution_options=_FRESH)


def publish_and_prune(
    session: Session, tenant_id: str, model_id: str, new: NewVersion, *, activation: Mode, actor: str, keep: int
) -> Version:
    """Publish by the verdict of the version's own gate, and keep the newest `keep` of the model: what every kind of training ends with."""
    published = publish(session, tenant_id, model_id, new, activation=activation, gate_passed=bool(new.gate["passed"]), actor=actor)
    prune(session, tenant_id, model_id, keep)
    return published


def _next_number(highest: Version | None, new: NewVersion) -> tuple[int, int, int]:
    """Major: consumers see another shape. Minor: the same shape from another spec. Patch: the same spec, trained again."""
    if highest is None:
        return 1, 0, 0
    if highest.signature != new.signature:
        return highest.major + 1, 0, 0
    if highest.spec_hash != new.spec_hash:
        return highest.major, highest.minor + 1, 0
    return highest.major, highest.minor, highest.patch + 1


def _takes_over(new: NewVersion, current: Version | None, activation: Mode, gate_passed: bool) -> bool:
    if activation != "auto":
        return activation == "always"
    if current is None:
        return True  # better a version that failed its gate, and says so, than no answer
    return gate_passed and _as_recent(new, current)


def _as_recent(new: NewVersion, current: Version) -> bool:
    """What nobody knows the data of is older than all."""
    return current.data_until is None or (new.data_until is not None and new.data_until >= current.data_until)


def activate(
    session: Session, tenant_id: str, model_id: str, semver: str, *, reason: str | None, by: By, if_match: str | None = None
) -> Version:
    """Make a version the active one. All is checked before anything is switched. `if_match`: the version the caller thinks is active."""
    model = _lock(session, tenant_id, model_id)
    chosen = version(session, tenant_id, model_id, semver)
    if chosen.pruned_at is not None:
        raise Conflict("version_pruned", f"Version {semver} was pruned; its artefact is gone.")
    current = _active(session, model)
    if if_match is not None and (current is None or current.semver != if_match):
        raise Stale(f"Active is {current.semver if current else 'none'}, not {if_match}.")
    if chosen is not current:
        _move_by_hand(session, current, chosen, kind="activate", reason=reason, by=by)
    return chosen


def rollback(session: Session, tenant_id: str, model_id: str, *, reason: str | None, by: By) -> Version:
    """Back to the version that was active before the present one; again, to the one before that. Pruned ones are passed over."""
    model = _lock(session, tenant_id, model_id)
    chosen = earlier(session, model)
    if chosen is None:
        raise Conflict("conflicting_activation", "No earlier version to go back to.")
    _move_by_hand(session, _active(session, model), chosen, kind="rollback", reason=reason, by=by)
    return chosen


def earlier(session: Session, model: Model) -> Version | None:
    """The version that a rollback would bring back; None where there is nothing to go back to."""
    current = _active(session, model)
    unpruned = sa.select(Version).where(Version.model_id == model.id, Version.pruned_at.is_(None))
    kept = {v.semver: v for v in session.scalars(unpruned, execution_options=_FRESH)}
    return next((kept[semver] for semver in _before(session, model) if semver in kept and kept[semver] is not current), None)


def _before(session: Session, model: Model) -> list[str]:
    """The versions under the present one, latest first: the log played as a stack, on which a rollback pops what it left."""
    stack: list[str] = []
    log = sa.select(Activation.kind, Activation.to_version).where(Activation.model_id == model.id).order_by(Activation.id)
    for kind, to_version in session.execute(log):
        if kind != "rollback":
            stack.append(to_version)
            continue
        while stack and stack[-1] != to_version:
            stack.pop()
    return stack[-2::-1]


def prune(session: Session, tenant_id: str, model_id: str, keep: int) -> list[Version]:
    """Mark all but the newest `keep` versions as pruned, never the active one. Their artefacts are the caller's to remove, after commit."""
    model = _lock(session, tenant_id, model_id)
    held = sa.select(Version).where(Version.model_id == model.id, Version.pruned_at.is_(None)).order_by(*_newest_first())
    surplus = [v for v in session.scalars(held.offset(keep), execution_options=_FRESH) if not v.active]
    _mark_pruned(session, surplus)
    return surplus


def delete_version(session: Session, tenant_id: str, model_id: str, semver: str, *, by: By = OPERATOR) -> Version:
    """Prune one version by hand. Its row stays, so that its number is never given out again."""
    _lock(session, tenant_id, model_id)
    doomed = version(session, tenant_id, model_id, semver)
    if doomed.active:
        raise Conflict("model_is_active", f"Version {semver} is active; activate another one first.")
    if doomed.pruned_at is None:
        audit.write(session, tenant_id, audit.VERSION_DELETED, model_id, by, version=semver)
    _mark_pruned(session, [doomed])
    return doomed


def _mark_pruned(session: Session, versions: Sequence[Version]) -> None:
    now = session.scalar(sa.select(sa.func.clock_timestamp()))
    for doomed in versions:
        doomed.pruned_at = doomed.pruned_at or now
    session.flush()


def _lock(session: Session, tenant_id: str, model_id: str) -> Model:
    """Whoever holds the model's row allots versions and moves the flag. NO KEY: new jobs that refer to the model need not wait."""
    asked = sa.select(Model).where(Model.tenant_id == tenant_id, Model.id == model_id)
    return _found(session.scalar(asked.with_for_update(key_share=True)), "model", model_id)


def _move_by_hand(session: Session, current: Version | None, chosen: Version, *, kind: str, reason: str | None, by: By) -> None:
    """Besides the model's own log, which leaves with its entity, the audit has it, which stays and tells no reason."""
    _move(session, current, chosen, kind=kind, reason=reason, actor=by.actor)
    action = audit.MODEL_ROLLED_BACK if kind == "rollback" else audit.MODEL_ACTIVATED
    told = {"version": chosen.semver, "former": current.semver if current else None}
    audit.write(session, chosen.tenant_id, action, chosen.model_id, by, **told)


def _move(session: Session, current: Version | None, chosen: Version, *, kind: str, reason: str | None, actor: str) -> None:
    """Switch the flag, write it in the log, tell webhooks. Two flushes: `one_active` is checked row by row."""
    if current is not None:
        current.active = False
        session.flush()
    chosen.active = True
    session.add(
        Activation(
            tenant_id=chosen.tenant_id,
            model_id=chosen.model_id,
            kind=kind,
            from_version=current.semver if current else None,
            to_version=chosen.semver,
            reason=reason,
            actor=actor,
        )
    )
    session.flush()
    told = {"model": chosen.model_id, "version": chosen.semver, "former": current.semver if current else None}
    deliveries.tell(session, chosen.model_id, "model.rolled_back" if kind == "rollback" else "model.activated", told)


def _active(session: Session, model: Model) -> Version | None:
    return session.scalar(sa.select(Version).where(Version.model_id == model.id, Version.active), execution_options=_FRESH)


def _highest(session: Session, model: Model) -> Version | None:
    asked = sa.select(Version).where(Version.model_id == model.id).order_by(*_newest_first()).limit(1)
    return session.scalar(asked, execution_options=_FRESH)


def _newest_first() -> list[sa.UnaryExpression[int]]:
    return [part.desc() for part in _SEMVER]


def find_model(session: Session, tenant_id: str, entity_id: int, name: str, kind: str = "forecast") -> Model | None:
    return session.scalar(sa.select(Model).filter_by(tenant_id=tenant_id, entity_id=entity_id, kind=kind, name=name))


def get_model(session: Session, tenant_id: str, model_id: str) -> Model:
    return _found(session.scalar(sa.select(Model).where(Model.tenant_id == tenant_id, Model.id == model_id)), "model", model_id)


def models(
    session: Session,
    tenant_id: str,
    *,
    entity: str | None = None,
    name: str | None = None,
    kind: str | None = None,
    limit: int,
    after: str | None = None,
) -> list[Model]:
    """Oldest first (ids sort by time). `entity` is its name; `after` is the id of the last model of the page before."""
    asked = sa.select(Model).where(Model.tenant_id == tenant_id)
    if entity is not None:
        named = sa.select(Entity.id).where(Entity.tenant_id == tenant_id, Entity.name == entity)
        asked = asked.where(Model.entity_id == named.scalar_subquery())
    if name is not None:
        asked = asked.where(Model.name == name)
    if kind is not None:
        asked = asked.where(Model.kind == kind)
    if after is not None:
        asked = asked.where(Model.id > after)
    return list(session.scalars(asked.order_by(Model.id).limit(limit)))


def heads(session: Session, models: Sequence[Model]) -> dict[str, Heads]:
    """The entity's name, the active and the latest version of each model, by the model's id."""
    ids = [model.id for model in models]
    named = sa.select(Model.id, Entity.name).join(Entity, Entity.id == Model.entity_id).where(Model.id.in_(ids))
    active = {v.model_id: v for v in session.scalars(sa.select(Version).where(Version.model_id.in_(ids), Version.active))}
    newest = sa.select(Version).ext(distinct_on(Version.model_id)).where(Version.model_id.in_(ids))
    latest = {v.model_id: v for v in session.scalars(newest.order_by(Version.model_id, *_newest_first()))}
    return {id_: Heads(entity, active.get(id_), latest.get(id_)) for id_, entity in session.execute(named)}


def active(session: Session, tenant_id: str, entity_id: int, name: str, kind: str = "forecast") -> Version | None:
    """The version that serves, if any was ever made active."""
    asked = sa.select(Version).join(Model, Model.id == Version.model_id).where(Version.active)
    return session.scalar(asked.where(Model.tenant_id == tenant_id, Model.entity_id == entity_id, Model.kind == kind, Model.name == name))


def answering(
    session: Session,
    tenant_id: str,
    entity: str,
    name: str,
    semver: str | None,
    kind: str = "forecast",
    *,
    horizon: int | None = None,
    level: float | None = None,
) -> Answering:
    """The pinned version, else the active one: one statement for the one question that every prediction begins with.

    `horizon` and `level` are those of the forecast that is asked for, where they are not the version's own.

    Raises NotFound for the entity, the model or the version; NoActiveVersion where nothing was pinned and nothing is active; Conflict for a
    pruned one.
    """
    major, minor, patch = (None, None, None) if semver is None else _numbers(semver)
    pinned = {"major": major, "minor": minor, "patch": patch}
    given = {"tenant": tenant_id, "entity": entity, "kind": kind, "name": name, "horizon": horizon, "level": level, **pinned}
    row = _found(next(iter(ask(session, _ANSWERING, given)), None), "entity", entity)
    entity_id, data_rev, model_id, version_id, number, spec, source, pruned_at, made_at = row
    if semver is None and version_id is None:
        raise NoActiveVersion(entity, name)
    _found(model_id, "model", f"{entity} {name}")
    _found(version_id, "version", str(semver))
    if pruned_at is not None:
        raise Conflict("version_pruned", f"Version {semver} was pruned; its artefact is gone.")
    return Answering(entity_id, data_rev, model_id, version_id, number, spec, source, made_at)


def answering_many(session: Session, tenant_id: str, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], tuple[Entity, Version]]:
    """The entity and the active version of each (entity, name of the model), by one statement. Those that have none are left out.

    Of the versions only what a forecast is made by: their metrics are read when asked for.
    """
    pairs = sa.tuple_(Entity.name, Model.name).in_(wanted)
    asked = sa.select(Entity, Model.name, Version).join(Model, Model.entity_id == Entity.id).join(Version, Version.model_id == Model.id)
    asked = asked.where(Entity.tenant_id == tenant_id, Entity.name.in_([entity for entity, _ in wanted]), pairs)
    asked = asked.where(Model.kind == "forecast", Version.active).options(defer(Version.metrics), defer(Version.gate))
    rows = session.execute(asked, execution_options=_FRESH)
    return {(entity.name, name): (entity, version) for entity, name, version in rows}


def versions(session: Session, tenant_id: str, model_id: str, *, limit: int, after: str | None = None) -> list[Version]:
    """Newest first, pruned ones too. `after` is the number of the last version of the page before."""
    model = get_model(session, tenant_id, model_id)
    asked = sa.select(Version).where(Version.model_id == model.id)
    if after is not None:
        asked = asked.where(sa.tuple_(*_SEMVER) < _numbers(after))
    return list(session.scalars(asked.order_by(*_newest_first()).limit(limit)))


def version(session: Session, tenant_id: str, model_id: str, semver: str) -> Version:
    asked = sa.select(Version).where(Version.tenant_id == tenant_id, Version.model_id == model_id, sa.tuple_(*_SEMVER) == _numbers(semver))
    return _found(session.scalar(asked, execution_options=_FRESH), "version", semver)


def activations(session: Session, tenant_id: str, model_id: str, *, limit: int, after: int | None = None) -> list[Activation]:
    """Newest first. `after` is the id of the last one of the page before."""
    model = get_model(session, tenant_id, model_id)
    asked = sa.select(Activation).where(Activation.model_id == model.id)
    if after is not None:
        asked = asked.where(Activation.id < after)
    return list(session.scalars(asked.order_by(Activation.id.desc()).limit(limit)))


def references(session: Session, tenant_id: str, version_ids: Collection[str]) -> dict[str, Json | None]:
    """By id, what each version's inputs and errors were like while it was made; None of one whose release kept nothing."""
    asked = sa.select(Version.id, Version.reference).where(Version.tenant_id == tenant_id, Version.id.in_(version_ids))
    return dict(session.execute(asked).all())


def referenced_artefacts(session: Session) -> set[str]:
    """Artefacts that a version of any tenant still needs. All others are rubbish."""
    return set(session.scalars(sa.select(Version.artefact_sha256).where(Version.pruned_at.is_(None)).distinct()))


def _numbers(semver: str) -> tuple[int, int, int]:
    written = _WRITTEN.fullmatch(semver)
    if written is None:
        raise NotFound("version", semver)
    major, minor, patch = map(int, written.groups())
    return major, minor, patch


def _found(row: Found | None, what: str, name: str) -> Found:
    if row is None:
        raise NotFound(what, name)
    return row
