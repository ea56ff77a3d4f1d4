"""WSO2 API Manager's artifact files, fault codes, throttling windows and MCP messages."""
