"""Fleetcast's client: forecasts for a fleet of entities, asked for from Python.

from fleetcast_client import Client

with Client("https://fleetcast.example", "fk_…") as client:
    forecast = client.predict("JFK", "temperature").result().forecast
"""

from fleetcast_client.asking import Scenario, Selector, SpecChanges
from fleetcast_client.client import Client
from fleetcast_client.errors import (
    Conflict,
    ConnectionFailed,
    FleetcastError,
    InsufficientData,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Problem,
    QuotaExceeded,
    ServiceFault,
    Unavailable,
    WaitTimedOut,
)
from fleetcast_client.frames import forecast as forecast_frame
from fleetcast_client.jobs import Job
from fleetcast_client.pages import Page, Pages
from fleetcast_client.watching import Event
from fleetcast_client.webhooks import ForgedMessage, verify

__all__ = [
    "Client",
    "Conflict",
    "ConnectionFailed",
    "Event",
    "FleetcastError",
    "ForgedMessage",
    "InsufficientData",
    "InvalidRequest",
    "Job",
    "JobCancelled",
    "JobFailed",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "Page",
    "Pages",
    "Problem",
    "QuotaExceeded",
    "Scenario",
    "Selector",
    "ServiceFault",
    "SpecChanges",
    "Unavailable",
    "WaitTimedOut",
    "forecast_frame",
    "verify",
]
