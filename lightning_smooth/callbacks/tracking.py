"""Experiment tracking with Weights & Biases, offline where nobody is logged in."""

from __future__ import annotations

import netrc
import os
from typing import Any
from urllib.parse import urlsplit

from pytorch_lightning.loggers import WandbLogger


class WandbTracking(WandbLogger):
    """Lightning's W&B logger, offline where no API key is set.

    An offline run lies under the run's folder; `wandb sync` uploads it later.

    Args:
        project: W&B project.
        save_dir: where the files go; empty means the run's folder.
        name: W&B's name of the run; None lets the run's folder name it.
        offline: None decides by whether an API key is there.
        tags: W&B tags.
        group: W&B group.
        log_model: whether checkpoints are uploaded: False, True (at the end) or `all`.
    """

    def __init__(
        self,
        project: str = "lightning_smooth",
        save_dir: str = ".",
        name: str | None = None,
        offline: bool | None = None,
        tags: list[str] | None = None,
        group: str | None = None,
        log_model: bool | str = False,
    ) -> None:
        optional: dict[str, Any] = {"tags": tags, "group": group}
        super().__init__(
            project=project,
            save_dir=save_dir or ".",
            name=name,
            offline=not _logged_in() if offline is None else offline,
            log_model=log_model,  # type: ignore[arg-type]
            **{key: value for key, value in optional.items() if value is not None},
        )


def _logged_in() -> bool:
    """Whether W&B would find an API key: in the environment, or in the user's netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
