"""The devices of a simulated site, one process that holds their state."""
