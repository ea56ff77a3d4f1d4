"""What WSO2 offers to those who administer it: REST APIs, client registration, users."""
