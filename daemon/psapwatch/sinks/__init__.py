"""The sinks that exist: a new one adds its file, and its settings here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from psapwatch.sinks.alertmanager import AlertmanagerSettings
from psapwatch.sinks.webhook import WebhookSettings

AnySink = Annotated[AlertmanagerSettings | WebhookSettings, Field(discriminator="kind")]
