"""The agent: observes through the gateway, decides, guards, and says how good its readings were."""
