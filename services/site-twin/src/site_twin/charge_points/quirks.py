"""What real chargers do and should not: behaviour to order, by configuration or as a fault at run time."""

from enum import StrEnum


class Quirk(StrEnum):
    """One bad habit of a charger. Such chargers are reported from the field; see docs/charge-points.md."""

    IGNORES_PROFILES_WHILE_SUSPENDED = "ignores_profiles_while_suspended"
    AMPERES_ONLY = "amperes_only"
    WATTS_ONLY = "watts_only"
    REFUSES_TX_PROFILES = "refuses_tx_profiles"
    STATION_PROFILES_ONLY = "station_profiles_only"
    STACK_LEVEL_ZERO_ONLY = "stack_level_zero_only"
    RESUMES_AT_FULL_POWER = "resumes_at_full_power"
    ANSWERS_LATE = "answers_late"
    ANSWERS_REJECTED = "answers_rejected"
    NEVER_ANSWERS = "never_answers"
    NEVER_CONFIRMS = "never_confirms"
    DISCONNECTS_IN_PROFILE = "disconnects_in_profile"
    REBOOTS = "reboots"
    LOSES_METER = "loses_meter"
    WAITS_FOR_REMOTE_START = "waits_for_remote_start"


MEANINGS: dict[Quirk, str] = {
    Quirk.IGNORES_PROFILES_WHILE_SUSPENDED: "accepts a charging profile while nothing is charged, and forgets it.",
    Quirk.AMPERES_ONLY: "rejects charging profiles in watts.",
    Quirk.WATTS_ONLY: "rejects charging profiles in amperes.",
    Quirk.REFUSES_TX_PROFILES: "rejects charging profiles of a transaction (TxProfile).",
    Quirk.STATION_PROFILES_ONLY: "rejects charging profiles but those of the whole charger.",
    Quirk.STACK_LEVEL_ZERO_ONLY: "rejects charging profiles with a stack level above 0.",
    Quirk.RESUMES_AT_FULL_POWER: "after a pause gives all it can, until the next charging profile arrives.",
    Quirk.ANSWERS_LATE: "answers to charging profiles some seconds late; they are in force from then on.",
    Quirk.ANSWERS_REJECTED: "rejects every charging profile.",
    Quirk.NEVER_ANSWERS: "takes no notice of charging profiles and gives no answer.",
    Quirk.NEVER_CONFIRMS: "obeys charging profiles, but gives no answer.",
    Quirk.DISCONNECTS_IN_PROFILE: "drops the connection when a charging profile arrives, and does not obey it.",
    Quirk.REBOOTS: "reboots once, as soon as a transaction runs.",
    Quirk.LOSES_METER: "sends no meter values.",
    Quirk.WAITS_FOR_REMOTE_START: "stays in Preparing until the central system starts a transaction.",
}
"""What each quirk does, for people."""
