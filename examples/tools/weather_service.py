"""A weather service that `weather.yaml` describes. It wants a key, and makes its forecasts up."""

import os
import sys

import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import APIKeyHeader
from pydantic import BaseModel


class Report(BaseModel):
    city: str
    sky: str


def check(key: str = Depends(APIKeyHeader(name="X-Key"))) -> None:
    if key != os.environ["WEATHER_KEY"]:
        raise HTTPException(403, f"{key!r} is not the key")


app = FastAPI(dependencies=[Depends(check)])
reports: list[Report] = []


@app.get("/forecast/{city}")
def forecast(city: str, days: int = 1) -> dict[str, object]:
    return {"city": city, "celsius": [len(city) + day for day in range(days)]}


@app.post("/reports", status_code=201)
def report(seen: Report) -> dict[str, int]:
    reports.append(seen)
    return {"reports": len(reports)}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]) if len(sys.argv) > 1 else 8081)
