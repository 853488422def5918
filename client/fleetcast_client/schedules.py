"""Schedules: a job asked for again and again."""

from __future__ import annotations

from fleetcast_client.answers.schedules import Schedule, ScheduleInFull, ScheduleRun
from fleetcast_client.asking import Hours, Template, When
from fleetcast_client.http import Ask, Http, below
from fleetcast_client.pages import Pages


class Schedules:
    """`client.schedules`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(
        self,
        name: str,
        template: Template,
        *,
        cron: str | None = None,
        every_s: int | None = None,
        time_zone: str | None = None,
        window: Hours | None = None,
        jitter_s: int | None = None,
        missed: str | None = None,
        paused: bool | None = None,
        when: When | None = None,
    ) -> ScheduleInFull:
        """By `cron` (five fields, in `time_zone`) or `every_s`; `when` trains only those who need it.

        Never sent twice: a name is taken once, so after ConnectionFailed look whether it stands.
        """
        times = {"cron": cron, "every_s": every_s, "time_zone": time_zone, "window": window, "jitter_s": jitter_s, "missed": missed}
        body = {"name": name, "template": template, "paused": paused, "when": when, **times}
        return ScheduleInFull.read(self._http.json("POST", below("schedules"), body, again=False))

    def get(self, schedule_id: str) -> ScheduleInFull:
        """With its next five runs and its last five."""
        return ScheduleInFull.read(self._http.json("GET", below("schedules", schedule_id)))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Pages[Schedule]:
        """Schedules, oldest first."""
        return Pages(self._http, below("schedules"), Schedule.read, {"limit": limit, "cursor": cursor})

    def pause(self, schedule_id: str) -> ScheduleInFull:
        return self._change(schedule_id, paused=True)

    def resume(self, schedule_id: str) -> ScheduleInFull:
        """It goes on with the first run that is due from now on."""
        return self._change(schedule_id, paused=False)

    def _change(self, schedule_id: str, *, paused: bool) -> ScheduleInFull:
        return ScheduleInFull.read(self._http.json("PATCH", below("schedules", schedule_id), {"paused": paused}))

    def runs(self, schedule_id: str, *, limit: int | None = None, cursor: str | None = None) -> Pages[ScheduleRun]:
        """What became of each due moment, newest first."""
        return Pages(self._http, below("schedules", schedule_id, "runs"), ScheduleRun.read, {"limit": limit, "cursor": cursor})

    def delete(self, schedule_id: str) -> None:
        """Delete it with the record of its runs; the jobs stay."""
        self._http.send(Ask(method="DELETE", path=below("schedules", schedule_id)))
