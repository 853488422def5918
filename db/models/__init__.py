"""The tables, the invariants that the database itself keeps as named indexes and triggers, and the one function that it is asked by.

One room for each area. Everybody else imports from here: so `Base.metadata` holds every table, whichever of them is asked for.
"""

from db.models.base import Base, Json, new_id, new_ids
from db.models.entities import Channel, Entity, Observation
from db.models.findings import Anomaly, Drift, Forecast
from db.models.jobs import MEASURING_KIND, TRAINING_KINDS, Attempt, IdempotencyKey, Job
from db.models.schedules import Schedule, ScheduleEntity, ScheduleRun
from db.models.states import (
    ABOUT_ENTITY,
    CANCELLED,
    FAILED,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    TERMINAL,
    TRANSITIONS,
    UNFINISHED,
    transition_trigger,
)
from db.models.tenants import ApiKey, Login, Tenant
from db.models.traces import AUDIT_KEPT, AuditEntry, Erasure, Receipt, audit_trigger
from db.models.versions import Activation, Model, Version
from db.models.webhooks import DELIVERED, PENDING, Delivery, Webhook

__all__ = [
    "ABOUT_ENTITY",
    "AUDIT_KEPT",
    "CANCELLED",
    "DELIVERED",
    "FAILED",
    "MEASURING_KIND",
    "PENDING",
    "QUEUED",
    "RUNNING",
    "SUCCEEDED",
    "TERMINAL",
    "TRAINING_KINDS",
    "TRANSITIONS",
    "UNFINISHED",
    "Activation",
    "Anomaly",
    "ApiKey",
    "Attempt",
    "AuditEntry",
    "Base",
    "Channel",
    "Delivery",
    "Drift",
    "Entity",
    "Erasure",
    "Forecast",
    "IdempotencyKey",
    "Job",
    "Json",
    "Login",
    "Model",
    "Observation",
    "Receipt",
    "Schedule",
    "ScheduleEntity",
    "ScheduleRun",
    "Tenant",
    "Version",
    "Webhook",
    "audit_trigger",
    "new_id",
    "new_ids",
    "transition_trigger",
]
