"""Peer: LitServe over the same int8 graph and ONNX Runtime that our own arm uses; no keys, no metering. FOLDER BATCH PORT."""

import sys
from typing import Any

import litserve
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

LABELS = ["a", "b", "c", "d"]


class Encoder(litserve.LitAPI):
    def setup(self, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self.session = onnxruntime.InferenceSession(f"{sys.argv[1]}/model.dynamic.onnx", options, ["CPUExecutionProvider"])
        self.names = [one.name for one in self.session.get_inputs()]
        self.tokenizer = Tokenizer.from_file(f"{sys.argv[1]}/tokenizer.json")
        self.tokenizer.enable_truncation(64)
        self.tokenizer.enable_padding()

    def decode_request(self, request: dict[str, Any]) -> str:
        return request["text"]

    def batch(self, inputs: list[str]) -> list[str]:
        return inputs

    def predict(self, texts: Any) -> list[dict[str, Any]]:
        rows = self.tokenizer.encode_batch([texts] if isinstance(texts, str) else texts)
        known = {"input_ids": np.array([row.ids for row in rows], np.int64),
                 "attention_mask": np.array([row.attention_mask for row in rows], np.int64)}
        found = self.session.run(None, {name: known[name] for name in self.names})[0].tolist()
        answers = [{"label": LABELS[row.index(max(row))], "scores": dict(zip(LABELS, row, strict=True))} for row in found]
        return answers[0] if isinstance(texts, str) else answers

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    batch = int(sys.argv[2])
    api = Encoder(max_batch_size=batch, batch_timeout=0.005) if batch > 1 else Encoder()
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=int(sys.argv[3]), num_api_servers=1, generate_client_file=False, log_level="error")
