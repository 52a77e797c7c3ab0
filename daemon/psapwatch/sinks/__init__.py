"""The kinds of sink: one line each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from psapwatch.sinks.alertmanager import AlertmanagerSettings
from psapwatch.sinks.webhook import WebhookSettings

AnySink = Annotated[AlertmanagerSettings | WebhookSettings, Field(discriminator="kind")]
