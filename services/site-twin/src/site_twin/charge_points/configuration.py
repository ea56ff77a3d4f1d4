"""What can be read and set of a charger: configuration keys in 1.6, variables of components in 2.0.1."""

from dataclasses import dataclass

from site_twin.charge_points.profile_store import ProfileCapabilities
from site_twin.charge_points.profiles import RateUnit

_LONGEST_INTERVAL_S = 86_400


@dataclass(slots=True)
class Configuration:
    """What can be set."""

    heartbeat_s: float = 300
    """Real time between heartbeats [s]."""

    meter_interval_s: int = 5
    """Of the run [s], between meter values."""


def values_v16(configuration: Configuration, abilities: ProfileCapabilities, connectors: int) -> dict[str, str]:
    """Every configuration key of OCPP 1.6 that the charger knows, and its value."""
    units = {RateUnit.AMPERES: "Current", RateUnit.WATTS: "Power"}
    return {
        "HeartbeatInterval": f"{configuration.heartbeat_s:g}",
        "MeterValueSampleInterval": str(configuration.meter_interval_s),
        "MeterValuesSampledData": "Power.Active.Import,Current.Import,Current.Offered,Energy.Active.Import.Register",
        "NumberOfConnectors": str(connectors),
        "AuthorizeRemoteTxRequests": "false",
        "AllowOfflineTxForUnknownId": "true",
        "StopTransactionOnEVSideDisconnect": "true",
        "SupportedFeatureProfiles": "Core,SmartCharging,RemoteTrigger",
        "ChargeProfileMaxStackLevel": str(abilities.most_stack_level),
        "ChargingScheduleAllowedChargingRateUnit": ",".join(
            units[unit] for unit in RateUnit if unit in abilities.units
        ),
        "ChargingScheduleMaxPeriods": str(abilities.most_periods),
        "MaxChargingProfilesInstalled": str(abilities.most_profiles),
        "ConnectorSwitch3to1PhaseSupported": "false",
    }


def values_v201(configuration: Configuration, abilities: ProfileCapabilities) -> dict[tuple[str, str], str]:
    """Every variable of OCPP 2.0.1 that the charger knows, by component and name, and its value."""
    return {
        ("OCPPCommCtrlr", "HeartbeatInterval"): f"{configuration.heartbeat_s:g}",
        ("SampledDataCtrlr", "TxUpdatedInterval"): str(configuration.meter_interval_s),
        ("SmartChargingCtrlr", "Enabled"): "true",
        ("SmartChargingCtrlr", "ProfileStackLevel"): str(abilities.most_stack_level),
        ("SmartChargingCtrlr", "RateUnit"): ",".join(unit for unit in RateUnit if unit in abilities.units),
        ("SmartChargingCtrlr", "PeriodsPerSchedule"): str(abilities.most_periods),
        ("SmartChargingCtrlr", "Entries"): str(abilities.most_profiles),
        ("TxCtrlr", "TxStartPoint"): "Authorized",
        ("TxCtrlr", "TxStopPoint"): "EVConnected",
    }


SETTABLE_V16 = {"HeartbeatInterval": "heartbeat_s", "MeterValueSampleInterval": "meter_interval_s"}
"""Keys that may be set, and the field of `Configuration` behind each."""

SETTABLE_V201 = {
    ("OCPPCommCtrlr", "HeartbeatInterval"): "heartbeat_s",
    ("SampledDataCtrlr", "TxUpdatedInterval"): "meter_interval_s",
}
"""Variables that may be set, and the field of `Configuration` behind each."""


def set_seconds(configuration: Configuration, field: str | None, text: str) -> bool:
    """Set one interval in whole seconds, from 1 s to a day.

    Args:
        configuration: what is changed.
        field: its field; None: it is none that may be set.
        text: the value, as it came.

    Returns:
        Whether it was taken.
    """
    if field is None or not text.isdecimal() or not 1 <= int(text) <= _LONGEST_INTERVAL_S:
        return False
    setattr(configuration, field, int(text))
    return True
