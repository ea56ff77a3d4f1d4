"""One simulated site as a consistent scenario: sun, panels, stationary battery, building load and grid connection.

Every value is a pure function of settings, seed and moment; nothing here asks a clock, a network or a device.
"""
