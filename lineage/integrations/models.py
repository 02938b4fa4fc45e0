"""What a live model knows of where it came from: a full fine-tune writes that into no file."""

from __future__ import annotations

import os
import re
from pathlib import PurePath
from typing import Any

from lineage.integrations.recorder import parent

_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")  # how the Hub names a repository


def _bare(model: Any) -> Any:
    """The model without what is wrapped around it for many devices, or compiled."""
    for _ in range(8):
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if inner is None:
            break
        model = inner
    return model


def is_adapter(model: Any) -> bool:
    return bool(getattr(_bare(model), "peft_config", None))


def loaded_from(model: Any) -> dict[str, Any] | None:
    """What the model was loaded from, as the live model knows it (transformers 5 writes it into no
    config.json); None for one that was made from scratch."""
    model = _bare(model)
    revision = None
    name = getattr(getattr(model, "config", None), "_name_or_path", None)
    for config in (getattr(model, "peft_config", None) or {}).values():
        name = getattr(config, "base_model_name_or_path", None) or name
        revision = getattr(config, "revision", None)
        break
    if not isinstance(name, str) or not name:
        return None
    if os.path.exists(name):
        return parent(os.path.abspath(name), evidence="configured")
    if not _HUB.fullmatch(name):
        return parent(name, evidence="configured")
    revision = _revision(name) or revision
    return parent(f"hf:{name}@{revision}" if revision else f"hf:{name}", evidence="configured")


def _revision(name: str) -> str | None:
    """The commit of a model of the Hub that lies in the local cache: its snapshot's folder."""
    from huggingface_hub import try_to_load_from_cache

    for file in ("config.json", "adapter_config.json"):
        found = try_to_load_from_cache(name, file)
        if isinstance(found, str):
            return PurePath(found).parent.name
    return None
