"""Peer: what most people write. FastAPI with a plain function and pydantic models; no keys, no metering. PORT."""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Request(BaseModel):
    text: str


class Answer(BaseModel):
    label: str
    scores: dict[str, float]


app = FastAPI()


@app.post("/predict")
def predict(request: Request) -> Answer:
    return Answer(label="pos", scores={"neg": 0.25, "pos": 0.75})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
