"""The mind: pure numbers, series in, fitted model and forecast out."""
