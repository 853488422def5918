"""The ledger: the life of a job in Postgres, from the asking to its one end.

Functions over a Session; the caller owns the transaction (`with sessions.begin() as session:`). Only Postgres' clock is used.

Lock order, everywhere, so that nothing deadlocks: the tenant, then jobs by id, then their parents by id. Nobody waits for a job while
holding a parent, and a transaction calls at most one function that ends jobs.
"""

from db.ledger.asked import cancel, retry
from db.ledger.batches import submit_batch
from db.ledger.claims import Claim, begin, claim, join_cohort
from db.ledger.depth import QueueDepth, holders, position, queues, throughput, typical_seconds
from db.ledger.dispatch import Bell, dispatched, due, lost, ring, unanswered
from db.ledger.intake import NewJob, Placed, admit, place, place_together, submit
from db.ledger.invariants import INVARIANTS, violations
from db.ledger.keys import recall, remember, remembers
from db.ledger.leases import Pulse, beat, cancelled, crashed, drain, fail, hold, hold_all, release, retry_later, succeed, succeed_all
from db.ledger.moves import Moved, item_counts
from db.ledger.reads import Failures, Sought, attempts, failures, find, get, get_many, items, page, steps, survey
from db.ledger.sweeps import LIMIT, expire, finish_cancels, purge, reap

__all__ = [
    "INVARIANTS",
    "LIMIT",
    "Bell",
    "Claim",
    "Failures",
    "Moved",
    "NewJob",
    "Placed",
    "Pulse",
    "QueueDepth",
    "Sought",
    "admit",
    "attempts",
    "beat",
    "begin",
    "cancel",
    "cancelled",
    "claim",
    "crashed",
    "dispatched",
    "drain",
    "due",
    "expire",
    "fail",
    "failures",
    "find",
    "finish_cancels",
    "get",
    "get_many",
    "hold",
    "hold_all",
    "holders",
    "item_counts",
    "items",
    "join_cohort",
    "lost",
    "page",
    "place",
    "place_together",
    "position",
    "purge",
    "queues",
    "reap",
    "recall",
    "release",
    "remember",
    "remembers",
    "retry",
    "retry_later",
    "ring",
    "steps",
    "submit",
    "submit_batch",
    "succeed",
    "succeed_all",
    "survey",
    "throughput",
    "typical_seconds",
    "unanswered",
    "violations",
]
