"""How loaded the grid connection is, and what energy over it costs."""

APICONTEXT = "/grid/1.0.0"
"""Context of GridAPI, to which all published routes belong."""
