"""The backend JWT, as services verify it."""

import pytest
from joserfc import jwt

from ev_service.assertion import GatewayAssertion
from ev_service.clock import SteppedClock
from ev_service.errors import AssertionRefusedError, ConfigurationError
from local_gateway.gateway.assertion import LIFETIME_S, AssertionIssuer
from local_gateway.gateway.routing_model import GatewayApi, Subscriber
from local_gateway.gateway.snapshot import take_snapshot
from local_gateway.keys import KeyFiles, SigningKey
from local_gateway.state import GatewayState
from local_gateway.tokens import AccessToken
from wso2_terms.deployment import BackendJwt

TOKEN = AccessToken(
    "jti-1", "key-EVApp", "evapp", frozenset({"solar:read"}), 0.0, {"azp": "key-EVApp", "aut": "APPLICATION"}
)
ON = BackendJwt(enable=True, encoding="base64url")


@pytest.fixture
def assertions(key: SigningKey) -> AssertionIssuer:
    return AssertionIssuer(key, ON)


def parties(state: GatewayState) -> tuple[GatewayApi, Subscriber]:
    snapshot = take_snapshot(state)
    return snapshot.apis[0], snapshot.subscribers["key-EVApp", "api-1"]


def create(assertions: AssertionIssuer, state: GatewayState, clock: SteppedClock) -> str:
    api, subscriber = parties(state)
    assertion = assertions.get_assertion(api, TOKEN, subscriber, clock.now())
    assert assertion is not None
    return assertion


def test_a_service_accepts_it_for_its_own_api_alone(
    assertions: AssertionIssuer, state: GatewayState, clock: SteppedClock, files: KeyFiles
) -> None:
    assertion = create(assertions, state, clock)
    verifier = GatewayAssertion(files.signing.read_bytes(), clock)

    verifier.verify(assertion, "/solar/1.0.0")
    with pytest.raises(AssertionRefusedError):
        verifier.verify(assertion, "/grid/1.0.0")


def test_the_assertion_identifies_the_application(
    assertions: AssertionIssuer, state: GatewayState, clock: SteppedClock, key: SigningKey
) -> None:
    claims = jwt.decode(create(assertions, state, clock), key.key, algorithms=["RS256"]).claims

    assert claims["http://wso2.org/claims/applicationname"] == "EVApp"
    assert claims["http://wso2.org/claims/subscriber"] == "evapp"
    assert claims["http://wso2.org/claims/enduser"] == "evapp@carbon.super"
    assert claims["http://wso2.org/claims/tier"] == "Ten"
    assert claims["azp"] == "key-EVApp"
    assert "aut" not in claims
    assert claims["exp"] - claims["iat"] == LIFETIME_S


def test_it_is_reused_and_renewed_before_it_expires(
    assertions: AssertionIssuer, state: GatewayState, clock: SteppedClock, files: KeyFiles
) -> None:
    first = create(assertions, state, clock)
    clock.advance(LIFETIME_S - 10)
    assert create(assertions, state, clock) == first

    clock.advance(8)

    renewed = create(assertions, state, clock)
    assert renewed != first
    GatewayAssertion(files.signing.read_bytes(), clock).verify(renewed, "/solar/1.0.0")


def test_no_assertion_is_issued_if_backend_jwts_are_disabled(
    key: SigningKey, state: GatewayState, clock: SteppedClock
) -> None:
    api, subscriber = parties(state)

    assert AssertionIssuer(key, BackendJwt()).get_assertion(api, TOKEN, subscriber, clock.now()) is None


def test_an_unsupported_encoding_is_a_configuration_error(key: SigningKey) -> None:
    with pytest.raises(ConfigurationError, match="base64url"):
        AssertionIssuer(key, BackendJwt(enable=True, encoding="base64"))
