"""How full the stationary battery is."""
