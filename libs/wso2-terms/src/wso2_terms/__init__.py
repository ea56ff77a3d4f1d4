"""What WSO2 API Manager says and reads: artifact files, fault codes, clock windows.

Knows formats and meanings; knows nothing of networks, processes or our own services.
"""
