"""Management listener: REST APIs, client registration and user administration of WSO2."""
