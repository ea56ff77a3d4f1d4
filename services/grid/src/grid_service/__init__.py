"""How loaded the grid connection is."""
