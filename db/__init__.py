"""The memory: Postgres lasts, Redis fades."""
