"""How much does each thing take that is kept? Bytes of a row with its indexes, of an artefact, of what Redis remembers of a job.

    python -m bench.rows [--entities 512] [--trained 8]

Every entity gets two weeks of hourly rows and a version with an artefact of its own (LSTM, window 50, hidden 64), and is forecast once
through claim, pass, publication and mirror. A few are really trained, for a version keeps its metrics and what its drift is judged by.
docs/scaling.md reckons with these figures.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace

import structlog
from sqlalchemy import text

from bench.batch import work_off
from bench.fleet import CHANNEL, furnish
from bench.house import Ground, ground
from bench.tables import markdown
from ml.recipes import recipe
from tasks import submit
from tasks.orders import PredictOrder, TrainOrder
from tasks.placing import Asker
from tasks.workshop import Workshop, open_workshop

#: Tables that grow with the fleet, and that nothing else than this bench has filled.
TABLES = ("observations", "entities", "channels", "models", "versions", "jobs", "attempts", "forecasts")
_SIZES = text("SELECT pg_total_relation_size(CAST(:name AS regclass)), pg_relation_size(CAST(:name AS regclass))")


def main() -> None:
    options = _options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with ground() as here:
        shop = open_workshop(replace(here.house.runtime, settings=replace(here.house.runtime.settings, model_dir=here.folder / "models")))
        spec = recipe("device-metric", shop.runtime.recipes).resolve(CHANNEL, {}, {"epochs": 2})
        names = furnish(shop.sessions, here.me.tenant_id, shop.settings.model_dir, options.entities, spec)
        asker = Asker(here.me.tenant_id)
        empty = _used(here)
        submit.predict(shop.runtime, asker, PredictOrder(tuple(names), (CHANNEL,), batch=True))
        work_off(shop)
        _pack(here)
        found = [_table(here, name) for name in TABLES] + _in_redis(here, empty, options.entities)
        order = TrainOrder("device-metric", tuple(names[: options.trained]), CHANNEL, activation="always", batch=True)
        submit.train(shop.runtime, asker, order)
        work_off(shop, "train")
        found += _of_trained(shop)
    print(markdown(["what", "how many", "bytes each", "of them indexes"], found))


def _pack(here: Ground) -> None:
    """Without the rows that updates left behind, which Postgres would use again."""
    with here.house.runtime.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"VACUUM (FULL) {', '.join(TABLES)}"))


def _table(here: Ground, name: str) -> Sequence[str]:
    with here.house.runtime.engine.connect() as connection:
        count = connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()  # noqa: S608  # one of TABLES
        whole, rows = connection.execute(_SIZES, {"name": name}).one()
    return name, f"{count:,}", f"{whole / count:,.0f}", f"{(whole - rows) / count:,.0f}"


def _used(here: Ground) -> int:
    return int(here.house.runtime.memory.info("memory")["used_memory"])


def _in_redis(here: Ground, empty: int, number: int) -> list[Sequence[str]]:
    """All that a forecast leaves there: the status of its job, the events, the answer."""
    grown = _used(here) - empty
    return [("Redis: status, events and answer of a forecast", f"{number:,}", f"{grown / number:,.0f}", "–")]


def _of_trained(shop: Workshop) -> list[Sequence[str]]:
    trained = "FROM versions v JOIN jobs j ON j.id = v.job_id WHERE j.kind = 'train'"
    asked = text(f"SELECT count(*), avg(pg_column_size(v.*)), avg(artefact_bytes) {trained}")  # our own words
    with shop.sessions() as session:
        count, row, artefact = session.execute(asked).one()
    return [
        ("a trained version's row, as stored, without indexes", f"{count}", f"{row:,.0f}", "–"),
        ("artefact of a trained version", f"{count}", f"{artefact:,.0f}", "–"),
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", type=int, default=512)
    parser.add_argument("--trained", type=int, default=8, help="of them, really trained")
    return parser.parse_args()


if __name__ == "__main__":
    main()
