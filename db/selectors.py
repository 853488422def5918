"""Selectors: whom a request or a schedule means by kind, channel and attributes. One condition, for all who ask."""

from __future__ import annotations


def means(selector: str) -> str:
    """SQL that holds of the entity `e` where the selector, an expression of type jsonb, means it.

    What the selector leaves out, or null, narrows nothing. `attributes` are those that an entity must have; it may have more. Entities that
    hold a base have no observations: they are meant only where their kind is named.
    """
    return f"""(
      coalesce(e.kind = {selector}->>'kind', e.kind IS DISTINCT FROM 'base' AND {selector}->>'kind' IS NULL)
      AND ({selector}->>'has_channel' IS NULL
        OR EXISTS (SELECT FROM channels c WHERE c.entity_id = e.id AND c.name = {selector}->>'has_channel'))
      AND e.attributes @> coalesce(nullif({selector}->'attributes', 'null'), '{{}}')
    )"""
