"""Notices to any HTTP endpoint, as the JSON of deploy/webhook.schema.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class WebhookSettings(BaseModel):
    """Settings of ``kind: webhook``."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    kind: Literal["webhook"] = "webhook"
    url: str = Field(description="where each notice is posted")
    headers_file: str | None = Field(None, description="file of `Name: value` lines to send along")
