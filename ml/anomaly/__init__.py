"""The watch: what is usual of an entity, and what is not."""
