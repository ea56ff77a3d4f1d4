"""What was seen during the run, and the secrets that must not be in it.

Answers that give a secret to whoever may have it (the token endpoint, keys) are not kept; everything else is.
"""

import base64
from collections.abc import Iterable

import httpx

SHORTEST = 8
"""A secret of fewer characters is found by chance; such a one is counted and not looked for."""

Text = tuple[str, bytes]
"""Where something stood, and what."""


class Traffic:
    """Collects answers and secrets of one run."""

    def __init__(self) -> None:
        self._secrets: dict[str, str] = {}
        self._seen: list[Text] = []

    @property
    def secrets(self) -> int:
        """How many secrets there are to look for."""
        return sum(len(secret) >= SHORTEST for secret in self._secrets)

    @property
    def answers(self) -> int:
        """How many answers were kept."""
        return len(self._seen)

    def keep_secret(self, name: str, secret: str) -> str:
        """Remember a password, secret or token, and return it.

        Args:
            name: what a leak is called by; never the secret itself.
            secret: as it is sent.
        """
        self._secrets[secret] = name
        head, _, signature = secret.rpartition(".")
        if head:
            # Whoever has the signature has the token: the rest of it is no secret, and a log may break it.
            self._secrets[signature] = name
        return secret

    def keep_client(self, name: str, client_id: str, secret: str) -> None:
        """Remember a client's secret, also in the form in which HTTP Basic sends it."""
        self.keep_secret(f"secret of {name}", secret)
        self.keep_secret(f"secret of {name}", base64.b64encode(f"{client_id}:{secret}".encode()).decode())

    def record(self, where: str, text: bytes) -> None:
        """Keep what was answered."""
        self._seen.append((where, text))

    def forget(self, where: str) -> None:
        """Forget what stood there."""
        self._seen = [(place, text) for place, text in self._seen if place != where]

    def on_answer(self, response: httpx.Response) -> None:
        """Keep an answer with its headers: hook of an HTTP client."""
        response.read()
        headers = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        self.record(f"{response.request.method} {response.url.path}", headers.encode() + b"\n\n" + response.content)

    def on_management_answer(self, response: httpx.Response) -> None:
        """Keep an answer only where it refuses: the others are how secrets are given out."""
        response.read()
        if response.status_code >= 400:
            self.on_answer(response)

    def leaks(self, others: Iterable[Text] = ()) -> list[str]:
        """Look for every secret in what was seen.

        Args:
            others: besides, such as logs.

        Returns:
            Which secret stands where, sorted, without the secret.
        """
        looked_for = {secret.encode(): name for secret, name in self._secrets.items() if len(secret) >= SHORTEST}
        texts = [*self._seen, *others]
        return sorted({f"{name} in {where}" for where, text in texts for s, name in looked_for.items() if s in text})
