"""Answers, as frozen values; each is named as in the OpenAPI document."""
