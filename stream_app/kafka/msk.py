"""Tokens for Amazon MSK: `NEXTACT_SASL_OAUTH_PROVIDER=stream_app.kafka.msk:token`, with the extra `nextact[msk]`."""

from __future__ import annotations

import importlib
import os
from typing import Any

from stream_app.errors import SettingsInvalid


def token() -> tuple[str, float]:
    """Signs a token by IAM, with AWS' own chain of credentials; returns it and its expiry, seconds since the epoch.

    Raises `SettingsInvalid` without a region or without the signer.
    """
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise SettingsInvalid("AWS_REGION must say in which region the MSK cluster is")
    try:
        signer: Any = importlib.import_module("aws_msk_iam_sasl_signer.MSKAuthTokenProvider")
    except ImportError as error:
        raise SettingsInvalid(f"signing tokens for MSK needs the extra nextact[msk]: {error}") from error
    text, expiry_ms = signer.generate_auth_token(region)
    return text, expiry_ms / 1000
