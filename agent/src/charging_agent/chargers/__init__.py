"""The site's chargers, read and commanded through the gateway: from one decision to the limit of each car.

Pure in the middle (`fleet`, `room`, `draws`, `planning`, `confirming`), calls at the edge (`commanding`, `charging`).
"""
