"""Scorers ask the model themselves and decide; no number that an attack submits is a verdict."""
