"""The OCPP half: speaks 1.6J and 2.0.1 with chargers, and knows nothing of why a limit is what it is."""
