"""Loads the model that makes pictures, beside the chat model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from ..engines.model_spec import ModelLoadError
from ..engines.protocol import Capability
from ..settings import Settings
from ..web.services import Services

log = logging.getLogger("openedai")


def wanted(settings: Settings) -> Mapping[Capability, str]:
    """The model that the operator names."""
    return {Capability.IMAGES: settings.image_model} if settings.image_model else {}


def load_images(services: Services) -> None:
    """Load it and serve it. Raises ModelLoadError."""
    settings = services.settings
    if not settings.image_model:
        return
    from ..engines.images.diffusers import DiffusersEngine
    from ..engines.images.pipeline import Defaults

    folder = Path(settings.image_model).expanduser()
    engine = DiffusersEngine(
        folder,
        name=folder.resolve().name,
        device=settings.image_device,
        defaults=Defaults(settings.image_steps, settings.image_cfg_scale),
    )
    services.models.add(engine.info.model, engine)
    log.info("images: %s", engine.info.model)


def load_webui_images(services: Services) -> None:
    """The same in a webui, and the image model that its user loads. One that cannot be loaded is logged."""
    from ..engines.images.pipeline import Defaults
    from ..engines.webui.images import WebuiImages, has_image_models

    settings = services.settings
    try:
        load_images(services)
    except ModelLoadError as error:
        log.error("no images: %s", error)
    if has_image_models():
        engine = WebuiImages(Defaults(settings.image_steps, settings.image_cfg_scale))
        services.models.add(engine.info.model, engine)
