"""Where history comes from: each source turns (entity, channels, span) into arrays."""
