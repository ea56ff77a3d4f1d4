"""How calmly sharing changes its mind."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SharingPolicy:
    """Delays, hysteresis, ramp and rounding; none of them holds back a reduction that a limit asks for.

    turn_s [s], minimum on time: where there is not enough for everyone, a car charges this long before another one of
        its priority takes its place. A quarter of an hour: cars that are stopped often may refuse to go on.
    minimum_off_s [s]: a stopped car stays off this long. evcc waits 1 min before it starts, openWB 30 s.
    calm_s [s]: until this long after a change smaller changes than hysteresis_kw are put off, and a stopped car
        starts only with hysteresis_kw to spare. evcc waits 3 min before it stops.
    hysteresis_kw [kW]: openWB's users found 0.25 kW too little, 1 to 2 kW is advised there.
    ramp_percent_per_s [% of the car's highest current per second]: how fast a limit rises. OpenEMS takes 3 %.
    phase_switch_s [s]: between a switch of phases and the next one up; down is at once. EVerest takes 600 s.
    settle_s [s]: for this long after a change what a car draws says nothing about what it could. Chargers may take 30 s
        until a limit acts; evcc ignores readings for 60 s after a switch.
    tolerance_a [A]: a car that draws up to this much below its limit takes all it is offered; one that draws up to this
        much above it keeps to it. Cars draw 6.1 A at 6 A.
    rise_a [A]: room to rise that is kept for a car that takes less than it is offered, more than tolerance_a.
    step_a [A]: limits are whole multiples of it, rounded down; OCPP takes 0.1 A, some chargers whole amperes only.
    """

    turn_s: float = 900.0
    minimum_off_s: float = 60.0
    calm_s: float = 180.0
    hysteresis_kw: float = 1.0
    ramp_percent_per_s: float = 3.0
    phase_switch_s: float = 600.0
    settle_s: float = 60.0
    tolerance_a: float = 1.0
    rise_a: float = 2.0
    step_a: float = 0.1
