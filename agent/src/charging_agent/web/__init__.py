"""What the agent publishes over HTTP: AgentAPI, the status page, metrics and the refresh endpoint."""
