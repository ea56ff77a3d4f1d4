"""Which variables of the caller's environment reach the stack: all settings for `run`, none for `demo`."""

from collections.abc import Mapping, MutableMapping

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "HOME", "USERPROFILE")
_ROOMS = ("SOLAR_", "BATTERY_", "GRID_", "CHARGERS_", "AGENT_", "SITE_", "SIM_", "TWIN_", "MQTT_", "LISTENER_")
_NAMES = ("LOG_LEVEL",)
# The stack sets these itself, from its own ports, certificates and passwords.
_SET_BY_STACK = ("WSO2_", "LOCAL_GATEWAY_", "GATEWAY_", "EVAPP_", "ASSISTANT_", "OPERATOR_")
_PREFIXES = _ROOMS + _SET_BY_STACK


def select_system_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the system that every process needs."""
    return {name: environment[name] for name in _PASSED_ON if name in environment}


def select_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that the caller may give to the stack's processes."""
    return {
        name: value
        for name, value in environment.items()
        if _is_setting(name) and not name.startswith(_SET_BY_STACK) and not name.endswith("_PORT")
    }


def remove_settings(environment: MutableMapping[str, str]) -> None:
    """Remove every setting, so that a run depends on nothing but its command line."""
    for name in [name for name in environment if _is_setting(name)]:
        del environment[name]


def _is_setting(name: str) -> bool:
    return name.startswith(_PREFIXES) or name in _NAMES
