"""Forecasts of load, sun and charging sessions with calibrated quantiles, and how their errors are measured."""
