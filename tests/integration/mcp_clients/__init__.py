"""The official MCP clients at the gateway; a package, so that their stack ends with the last of these tests."""
