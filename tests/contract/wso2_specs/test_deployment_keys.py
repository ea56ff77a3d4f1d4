"""Every key of deployment.toml is one that the product knows: it passes over a misspelt one without a word."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest

DEPLOYMENT = Path(__file__).parents[3] / "wso2" / "conf" / "deployment.toml"

KNOWN: Mapping[str, tuple[str, ...]] = {
    "WSO2 API Manager 4.6.0, shipped deployment.toml": (
        "server.(hostname|offset|base_path|server_role)",
        "super_admin.(username|password|create_admin_account)",
        "user_store.type",
        "database.(apim_db|shared_db).(type|url|username|password)",
        "database.local.url",
        "keystore.(tls|primary|internal).(file_name|type|password|alias|key_password)",
        "truststore.(file_name|type|password)",
        "apim.gateway_type",
        "apim.gateway.environment.(name|type|gateway_type|provider|display_in_api_console|description)",
        "apim.gateway.environment.(show_as_token_endpoint_url|service_url|username|password)",
        "apim.gateway.environment.(ws_endpoint|wss_endpoint|http_endpoint|https_endpoint)",
        "apim.gateway.environment.websub_event_receiver_(http|https)_endpoint",
        "apim.sync_runtime_artifacts.gateway.gateway_labels",
        "apim.jwt.(enable|header|encoding|claim_dialect|convert_dialect|signing_algorithm|enable_user_claims)",
        "apim.analytics.(enable|type)",
        "apim.ai.(enable|key)",
        "apim.key_manager.enable_lightweight_apikey_generation",
        "apim.cors.(allow_origins|allow_methods|allow_headers|allow_credentials)",
        "apim.oauth_config.(enable_outbound_auth_header|auth_header|revoke_endpoint)",
        "apim.oauth_config.(enable_token_encryption|enable_token_hashing)",
        "oauth.grant_type.token_exchange.(enable|allow_refresh_tokens|iat_validity_period)",
        "event_handler.(name|subscriptions)",
        "service_provider.sp_name_regex",
        "event_listener.(id|type|name|order)",
        "event_listener.properties.(notification_endpoint|username|password|header.X-WSO2-KEY-MANAGER)",
    ),
    "WSO2 API Manager 4.6.0, default.json and infer.json": (
        "apim.sync_runtime_artifacts.gateway.(artifact_retriever|data_retrieval_mode)",
        "apim.sync_runtime_artifacts.gateway.(event_waiting_time|deployment_retry_duration|enable_on_demand_loading)",
        "apim.sync_runtime_artifacts.gateway.skip_list.(apis|local_entries|endpoints|sequences)",
        "apim.jwt.(generator_impl|use_kid_property|use_sha256_hash|enable_tenant_based_signing|enable_jwks_api)",
        "apim.jwt.gateway_generator.(impl|excluded_claims|enable_claim_retrieval)",
        "apim.key_manager.(service_url|allow_subscription_validation_disabling)",
        "apim.key_manager.enable_application_scopes_for_resident_km",
        "apim.throttling.(service_url|enable_unlimited_tier|enable_policy_recreation_on_startup)",
        "apim.throttling.(enable_data_publishing|enable_policy_deploy|enable_blacklist_condition)",
        "apim.throttling.(enable_decision_connection|throttle_decision_endpoints)",
        "apim.throttling.enable_(header_based|jwt_claim_based|query_param_based)_throttling",
        "apim.throttling.blacklist_condition.(start_delay|period)",
        "apim.throttling.url_group.(traffic_manager_urls|traffic_manager_auth_urls|type)",
        "apim.certificate_reloader.period",
        "oauth.endpoints.oauth2_jwks_url",
        "transport.passthru_https.listener.ssl_profile_interval",
        "transport.passthru_https.sender.parameters.HostnameVerifier",
        "synapse_properties.synapse.artifacts.file.storage.enabled",
    ),
    "carbon-apimgt 9.33.90, APIManagerConfiguration": ("apim.jwt.expiry_time",),
    "carbon-kernel 4.9.33, carbon.xml, carbon.properties and jmx.xml templates": (
        "keystore.listener_profile.(bind_address|ssl_verify_client)",
        "admin_service.wsdl.enable",
        "admin_service.exceptions_to_deny_list",
        # Each line becomes a property of the system; these two are read by apim-km-wso2is 1.7.17.
        "system.parameter.(restrict.unassigned.scopes|merge.application.scopes)",
        "monitoring.jmx.rmi_hostname",
    ),
    "identity-inbound-auth-oauth 6.13.41 and WSO2's tests of API Manager 4.6.0 (allowedScopes)": (
        "oauth.allowed_scopes",
    ),
    "WSO2 product-is issue 27999": ("oauth.build_issuer_with_hostname",),
    "WSO2 API Manager 4.4.0 documentation, multiple active access tokens": (
        "oauth.jwt.renew_token_without_revoking_existing.(enable|allowed_grant_types)",
    ),
    "WSO2 API Manager 4.6.0 documentation, monitoring with OpenTelemetry": (
        "apim.open_telemetry.remote_tracer.(enable|name|url|hostname|port)",
        "apim.open_telemetry.remote_tracer.properties.(name|value)",
        "apim.open_telemetry.resource_attributes.(name|value)",
        "apim.open_telemetry.log_tracer.enable",
    ),
    # Not seen in API Manager itself: the default is the same 3600 s, so nothing depends on it.
    "inferred from the keys of WSO2 Identity Server": ("oauth.token_validation.app_access_token_validity",),
}
"""Regular expressions of dotted keys by where they were read; tables in lists count as one."""

PATTERNS = [re.compile(pattern.replace(".", r"\.")) for patterns in KNOWN.values() for pattern in patterns]


@pytest.fixture(scope="module")
def keys() -> list[str]:
    return list(_keys(tomllib.loads(DEPLOYMENT.read_text(encoding="utf-8"))))


def test_every_key_is_known(keys: list[str]) -> None:
    assert len(keys) > 50
    assert [key for key in keys if not _is_known(key)] == []


def test_each_misspelt_key_is_noticed(keys: list[str]) -> None:
    misspelt = {
        ".".join((*parts[:position], f"{part}_zz", *parts[position + 1 :]))
        for parts in (key.split(".") for key in keys)
        for position, part in enumerate(parts)
    }

    assert [key for key in sorted(misspelt) if _is_known(key)] == []


def _is_known(key: str) -> bool:
    return any(pattern.fullmatch(key) for pattern in PATTERNS)


def _keys(table: Mapping[str, object], above: str = "") -> Iterator[str]:
    for name, value in table.items():
        key = f"{above}{name}"
        entries = cast("list[object]", value) if isinstance(value, list) else [value]
        inner = [cast("dict[str, object]", entry) for entry in entries if isinstance(entry, dict)]
        for entry in inner:
            yield from _keys(entry, f"{key}.")
        if not inner:
            yield key
