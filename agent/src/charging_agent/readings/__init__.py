"""Site readings: when each is fetched, how old it is, and whether a decision may use it."""
