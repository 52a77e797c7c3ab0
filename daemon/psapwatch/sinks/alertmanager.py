"""Notices to Alertmanager's API v2."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from psapwatch.duration import Duration


class AlertmanagerSettings(BaseModel):
    """Settings of ``kind: alertmanager``."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    kind: Literal["alertmanager"] = "alertmanager"
    urls: list[str] = Field(min_length=1, description="every Alertmanager of the cluster")
    labels: dict[str, str] = Field(default_factory=dict, description="Prometheus's external labels")
    resolve_after: Duration = Field(90.0, description="a resolution follows its closing by this much")
    repeat: Duration = Field(30.0, ge=1, description="between two pushes of an open alert")
