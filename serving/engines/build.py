"""From settings to an engine. Each engine's library is imported only where that engine is chosen."""

from __future__ import annotations

from serving.config import Settings
from serving.engines.base import Engine
from serving.engines.scripted import ScriptedEngine
from serving.models.catalogue import resolve_model


def build_engine(settings: Settings) -> Engine:
    """The engine that the settings choose, ready to decode. Fetches, converts and loads the model: may take long."""
    match settings.engine:
        case "scripted":
            return ScriptedEngine(model=settings.served_name)
        case "transformers":
            from serving.engines.transformers.engine import TransformersEngine
            from serving.engines.transformers.worker import WorkerLimits

            assert settings.model is not None  # load_settings saw to it
            return TransformersEngine.load(
                resolve_model(settings.model),
                name=settings.served_name,
                device=settings.device,
                dtype=settings.dtype,
                limits=WorkerLimits(streams=settings.max_streams, rows_mib=settings.rows_mib),
            )
        case "vllm":
            from serving.engines.vllm import load_vllm

            assert settings.model is not None
            return load_vllm(
                resolve_model(settings.model),
                name=settings.served_name,
                dtype=settings.dtype,
                adapters=settings.lora_modules,
                engine_args=settings.vllm_arguments,
            )
        case "remote":
            from serving.engines.remote import RemoteOptions, load_remote

            assert settings.model is not None
            key = settings.remote_api_key
            options = RemoteOptions(
                base_urls=tuple(settings.base_urls),
                model=settings.remote_model or settings.model,
                adapters=tuple(settings.lora_modules),
                api_key=key.get_secret_value() if key else None,
                form=settings.remote_form,
                context_length=settings.max_model_len,
                timeout_s=settings.remote_timeout_s,
            )
            return load_remote(resolve_model(settings.model, weights=False), name=settings.served_name, options=options)
