"""The former name of `broodline.integrations`; it goes with version 0.3."""

from __future__ import annotations

import warnings

from broodline import integrations

__path__ = integrations.__path__  # so that `import broodline.adapters.torch` finds integrations/torch.py

warnings.warn("broodline.adapters is now broodline.integrations", DeprecationWarning, stacklevel=2)
