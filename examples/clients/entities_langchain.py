"""Several entities out of one text with LangChain: Pydantic models bound as tools, one call each, objects back."""

from __future__ import annotations

import os

from langchain_core.output_parsers import PydanticToolsParser
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

URL = os.environ.get("POLYCALL_URL", "http://127.0.0.1:8000")
MODEL = os.environ.get("POLYCALL_MODEL", "qwen2.5-coder-1.5b")

TEXT = "Ada Lovelace, 36, lived in London. Charles Babbage, 79, once travelled to Turin to speak of his engine."


class Person(BaseModel):
    """A person whom the text names."""

    name: str = Field(description="The whole name")
    age: int | None = Field(default=None, description="The age in years, where the text says it")


class Place(BaseModel):
    """A place that the text names."""

    name: str


model = ChatOpenAI(base_url=f"{URL}/v1", api_key=os.environ.get("POLYCALL_KEY", "none"), model=MODEL)
chain = model.bind_tools([Person, Place], tool_choice="any") | PydanticToolsParser(tools=[Person, Place])
for entity in chain.invoke(f"Name every person and every place of this text, one call each: {TEXT}"):
    print(repr(entity))
