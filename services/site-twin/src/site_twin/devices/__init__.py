"""The devices of the site that speak MQTT, each a client of its own, and the ways in which they fail."""
