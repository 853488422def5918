"""The shapes on the wire: one schema in, one schema out; no rule of the domain lives here."""
