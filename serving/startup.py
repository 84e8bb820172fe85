"""What an operator reads when the server cannot start: a sentence, as for wrong settings, and no traceback."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grammars.errors import ConfigurationError


class PlainStartup:
    """The application, whose `ConfigurationError` while it starts is told in its own words."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        failure: Message | None = None

        async def hold_failure(message: Message) -> None:
            nonlocal failure
            if message["type"] == "lifespan.startup.failed":
                failure = message
            else:
                await send(message)

        try:
            await self._app(scope, receive, hold_failure)
        except ConfigurationError as error:
            await send({"type": "lifespan.startup.failed", "message": f"polycall: {error}"})
        except Exception:
            if failure is not None:
                await send(failure)
            raise
