"""The kinds of probe: one line each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from psapwatch.probes.call import CallSettings
from psapwatch.probes.options import OptionsSettings
from psapwatch.probes.walk import WalkSettings

AnyProbe = Annotated[OptionsSettings | CallSettings | WalkSettings, Field(discriminator="kind")]
