"""Prices and carbon of the grid connection: the market's prices, the site's tariff, and what they add up to."""
