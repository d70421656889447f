"""Peer: what most people write for an encoder. FastAPI with a plain function over torch fp32; no keys, no metering. FOLDER PORT."""

import sys

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from tokenizers import Tokenizer
from transformers import BertForSequenceClassification

LABELS = ["a", "b", "c", "d"]
model = BertForSequenceClassification.from_pretrained(sys.argv[1], local_files_only=True).eval()
tokenizer = Tokenizer.from_file(f"{sys.argv[1]}/tokenizer.json")
tokenizer.enable_truncation(64)
app = FastAPI()


class Request(BaseModel):
    text: str


@app.post("/predict")
def predict(request: Request) -> dict[str, object]:
    ids = torch.tensor([tokenizer.encode(request.text).ids])
    with torch.inference_mode():
        scores = torch.softmax(model(ids).logits[0], -1).tolist()
    return {"label": LABELS[scores.index(max(scores))], "scores": dict(zip(LABELS, scores, strict=True))}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False)
