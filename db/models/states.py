"""The states of a job, every allowed change of them, and the trigger that refuses all others."""

from __future__ import annotations

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = "queued", "running", "succeeded", "failed", "cancelled"
UNFINISHED = (QUEUED, RUNNING)
TERMINAL = (SUCCEEDED, FAILED, CANCELLED)
#: Every allowed change of a job's state; the trigger `job_transition` refuses all others. A retry of a finished job is a new row.
TRANSITIONS: frozenset[tuple[str, str]] = frozenset(
    {
        (QUEUED, QUEUED),  # dispatched, postponed
        (QUEUED, RUNNING),  # claimed
        (QUEUED, CANCELLED),
        (QUEUED, FAILED),  # deadline passed while waiting
        (RUNNING, RUNNING),  # heartbeat, progress
        (RUNNING, QUEUED),  # retry, reap, drain
        (RUNNING, SUCCEEDED),
        (RUNNING, FAILED),
        (RUNNING, CANCELLED),
    }
)
#: What a job's row tells of its entity, and erasure takes away.
ABOUT_ENTITY = ("label", "spec", "spec_hash", "progress", "result", "error", "warnings", "client_metadata")


def transition_trigger() -> tuple[str, str]:
    """The function and the trigger that refuse any change of state not in TRANSITIONS and any change of a finished job.

    `rev` rises here and nowhere else. Losing the entity, and with it all that told of it (ABOUT_ENTITY), is the one change a finished row
    may still see: erasure.
    """
    about = ", ".join(f"'{column}'" for column in ABOUT_ENTITY)
    allowed = ", ".join(f"('{a}', '{b}')" for a, b in sorted(TRANSITIONS))
    terminal = ", ".join(f"'{state}'" for state in TERMINAL)
    function = f"""
CREATE FUNCTION job_transition() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  erasable text[] := ARRAY['entity_id', 'model_id'];
BEGIN
  IF OLD.state IN ({terminal}) THEN
    IF OLD.entity_id IS NOT NULL AND NEW.entity_id IS NULL THEN
      erasable := erasable || ARRAY[{about}];
    END IF;
    IF (to_jsonb(NEW) - erasable) IS DISTINCT FROM (to_jsonb(OLD) - erasable) THEN
      RAISE EXCEPTION 'job % is finished (%) and cannot change', OLD.id, OLD.state USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
  END IF;
  IF (OLD.state, NEW.state) NOT IN ({allowed}) THEN
    RAISE EXCEPTION 'job % cannot go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
  END IF;
  IF OLD.state <> NEW.state OR OLD.cancel_requested <> NEW.cancel_requested THEN
    NEW.rev := OLD.rev + 1;
  ELSE
    NEW.rev := OLD.rev;
  END IF;
  RETURN NEW;
END $$"""
    trigger = "CREATE TRIGGER job_transition BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION job_transition()"
    return function, trigger
